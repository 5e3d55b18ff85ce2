"""What loads, and what each unusable model is refused with."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from fashion_clip.checkpoint import Checkpoint, checkpoint_folder, load_checkpoint
from fashion_clip.demo import MODEL_DIR
from fashion_clip.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo model, to be damaged."""
    return Path(shutil.copytree(MODEL_DIR, tmp_path / "model"))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refusal(name: str | Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(name))
    message = str(caught.value)
    assert repr(str(name)) in message or Path(name).name in message
    assert "\n" not in message
    return message


def values(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return dict(checkpoint.model.named_parameters())


def assert_same_weights(one: Checkpoint, other: Checkpoint) -> None:
    assert values(one).keys() == values(other).keys()
    assert all(torch.equal(tensor, values(other)[name]) for name, tensor in values(one).items())


def test_the_demo_model_loads_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    checkpoint = load_checkpoint(str(MODEL_DIR))
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == verbosity
    assert logging.set_tqdm_hook(None) is None
    assert {tensor.dtype for tensor in values(checkpoint).values()} == {torch.float32}
    assert not checkpoint.model.training
    assert checkpoint.folder == MODEL_DIR
    stored = load_file(MODEL_DIR / "model.safetensors")
    assert all(torch.equal(tensor, stored[name].float()) for name, tensor in values(checkpoint).items())


def test_half_precision_and_shards_load_as_float32(folder: Path, tmp_path: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update({k: v.half() for k, v in tensors.items()}))
    edit(folder / "config.json", lambda config: config.update(dtype="float16"))
    half = load_checkpoint(str(folder))
    assert {tensor.dtype for tensor in values(half).values()} == {torch.float32}
    shards = Path(shutil.copytree(folder, tmp_path / "shards"))
    (shards / "model.safetensors").unlink()
    half.model.save_pretrained(shards, max_shard_size="2MB")
    assert (shards / "model.safetensors.index.json").is_file()
    assert_same_weights(load_checkpoint(str(shards)), half)


def test_a_folder_of_the_old_form_loads_the_same(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(tokenizer["vocab"]), encoding="utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    size = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))["crop_size"][
        "height"
    ]

    def as_in_2021(config: dict[str, Any]) -> None:
        for field in ("image_processor_type", "do_rescale", "rescale_factor", "do_convert_rgb"):
            config.pop(field, None)
        config.update(size=size, crop_size=size, feature_extractor_type="CLIPFeatureExtractor")

    edit(folder / "preprocessor_config.json", as_in_2021)
    edit(folder / "config.json", lambda config: config["text_config"].update(eos_token_id=2, bos_token_id=0))
    old, new = load_checkpoint(str(folder)), load_checkpoint(str(MODEL_DIR))
    assert_same_weights(old, new)
    assert old.preprocessing == new.preprocessing
    text = "A photo of 3 women's dresses!"
    assert old.tokenizer(text)["input_ids"] == new.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("name", ["./models/none", "/none", "~/none", "~nobody-of-that-name/none", ".", ""])
def test_a_path_that_is_no_folder_is_not_looked_for_on_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such folder; give|name of nobody|holds no config\.json"):
        load_checkpoint(name)


def test_a_file_is_no_folder(folder: Path) -> None:
    assert "is a file; give the folder" in refusal(folder / "config.json")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "holds no config.json" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["bert", "siglip", "clip_vision_model", None])
def test_models_of_another_type(folder: Path, kind: str | None) -> None:
    edit(folder / "config.json", lambda config: config.update(model_type=kind))
    assert f"is of type {kind!r}; only CLIP" in refusal(folder)


@pytest.mark.parametrize("content", ["", "[]", "\udcff"])
def test_a_damaged_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    assert "config.json" in refusal(folder) or "type None" in refusal(folder)


def test_pickled_weights_are_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no model.safetensors. Pickled" in refusal(folder)
    torch.save(Trap(tmp_path / "trapped"), folder / "pytorch_model.bin")
    assert "holds no model.safetensors, only 'pytorch_model.bin'" in refusal(folder)
    assert "save_pretrained(" in refusal(folder)
    assert not (tmp_path / "trapped").exists()


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_of_a_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    (folder / "modeling_trap.py").write_text(f"open({str(tmp_path / 'trapped')!r}, 'w')\n", encoding="utf-8")
    auto_map = {"AutoModel": "modeling_trap.Trap", "AutoTokenizer": ["modeling_trap.Trap", None]}
    edit(
        folder / "config.json",
        lambda config: config.update(auto_map=auto_map, attn_implementation="owner/kernel"),
    )
    edit(folder / "tokenizer_config.json", lambda config: config.update(auto_map=auto_map))
    assert "names program code of its own (auto_map)" in refusal(folder)
    edit(folder / "config.json", lambda config: config.pop("auto_map"))
    edit(folder / "tokenizer_config.json", lambda config: config.pop("auto_map"))
    load_checkpoint(str(folder))
    assert not (tmp_path / "trapped").exists()


def test_an_adapter_beside_the_weights_is_not_applied(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    assert "merge the adapter into the weights first, in Python: PeftModel.merge_and_unload()" in refusal(
        folder
    )


def test_a_truncated_file_of_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "are damaged or do not fit config.json (SafetensorError" in refusal(folder)
    weights.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    assert "are damaged or do not fit config.json" in refusal(folder)


def test_weights_that_do_not_fit_the_config(folder: Path) -> None:
    edit(folder / "config.json", lambda config: config.update(projection_dim=64))
    assert "are damaged or do not fit config.json" in refusal(folder)


def test_missing_tensors_are_not_made_up(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.pop("visual_projection.weight"))
    assert "lack 1 tensors, the first is 'visual_projection.weight'" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder: Path, value: float) -> None:
    change_weights(folder, lambda tensors: tensors["text_projection.weight"].view(-1)[7:8].fill_(value))
    assert "no numbers in 1 tensors, the first is 'text_projection.weight'" in refusal(folder)


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "holds no tokenizer; expected tokenizer.json" in refusal(folder)
    (folder / "vocab.json").write_text("{}", encoding="utf-8")
    assert "holds no tokenizer; expected tokenizer.json" in refusal(folder)


def test_a_damaged_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:500])
    assert "its tokenizer cannot be loaded" in refusal(folder)


def test_the_tokenizer_of_another_model(folder: Path) -> None:
    edit(folder / "config.json", lambda config: config["text_config"].update(eos_token_id=5))
    assert "its tokenizer is another model's" in refusal(folder)


def test_no_image_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    assert "holds no image processor" in refusal(folder)


def test_the_image_processor_of_another_model(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", lambda config: config.update(size=224, crop_size=224))
    assert "processor makes 224 x 224" in refusal(folder)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_in_cache(cache: Path, name: str, commit: str, branch: str | None = None) -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    if branch is not None:
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / branch).write_text(commit, encoding="utf-8")
    return Path(shutil.copytree(MODEL_DIR, repository / "snapshots" / commit))


def test_a_cached_hub_model_loads_without_a_network(hub_cache: Path) -> None:
    snapshot = put_in_cache(hub_cache, "somebody/fashion", "1" * 40, branch="main")
    checkpoint = load_checkpoint("somebody/fashion")
    assert checkpoint.folder == snapshot
    assert checkpoint.name == "somebody/fashion"
    other = put_in_cache(hub_cache, "somebody/fashion", "2" * 40)
    assert checkpoint_folder(f"somebody/fashion@{'2' * 40}") == other


def test_the_default_model_is_taken_from_a_commit_that_has_safetensors(hub_cache: Path) -> None:
    put_in_cache(hub_cache, "openai/clip-vit-base-patch32", "1" * 40, branch="main")
    converted = put_in_cache(
        hub_cache, "openai/clip-vit-base-patch32", "c237dc49a33fc61debc9276459120b7eac67e7ef"
    )
    assert checkpoint_folder("openai/clip-vit-base-patch32") == converted


def test_a_hub_model_that_is_not_there(hub_cache: Path) -> None:
    message = refusal("somebody/fashion@v2")
    assert "HF_HUB_OFFLINE is set" in message
    assert "`hf download somebody/fashion --revision v2 --local-dir FOLDER`" in message


@pytest.mark.parametrize("name", ["a/b/c", "what is this", "owner/"])
def test_a_name_that_cannot_be_one_of_the_hub(hub_cache: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"no name of the Hugging Face hub"):
        checkpoint_folder(name)


def test_a_folder_wins_over_a_hub_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    name = str(folder.relative_to(folder.parent.parent))
    assert "/" in name
    assert checkpoint_folder(name) == Path(name)


COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's HTTP interface as a download of the demo model needs."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        file = MODEL_DIR / path.split("/")[-1]
        for part, status, code in (
            ("/missing/", 404, "RepoNotFound"),
            ("/gated/", 403, "GatedRepo"),
            ("/revision/typo", 404, "RevisionNotFound"),
            ("/down/", 503, "Down"),
        ):
            if part in path:
                self.answer(status, b"", {"X-Error-Code": code})
                return
        if "/resolve/" in path and file.is_file():
            content = file.read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        elif "/tree/" in path:
            names = [*(entry.name for entry in MODEL_DIR.iterdir()), "pytorch_model.bin"]
            rows = [{"type": "file", "path": name, "oid": "0" * 40, "size": 1} for name in names]
            self.answer(200, json.dumps(rows).encode())
        else:
            self.answer(200, json.dumps({"id": "owner/model", "sha": COMMIT}).encode())

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_model_is_downloaded_once_and_found_when_the_hub_is_gone(
    hub: ThreadingHTTPServer, hub_cache: Path
) -> None:
    folder = checkpoint_folder("owner/model")
    assert folder.is_relative_to(hub_cache)
    assert (folder / "model.safetensors").read_bytes() == (MODEL_DIR / "model.safetensors").read_bytes()
    assert not (folder / "pytorch_model.bin").exists()
    hub.shutdown()
    hub.server_close()
    assert checkpoint_folder("owner/model") == folder
    with pytest.raises(
        CheckpointError, match=r"hub cannot be reached .*`hf download owner/other --local-dir"
    ):
        checkpoint_folder("owner/other")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing/model", "knows no such model"),
        ("gated/model", "approved accounts"),
        ("owner/model@typo", "not that revision"),
        ("down/model", "cannot be reached .*503"),
    ],
)
def test_what_the_hub_refuses(hub: ThreadingHTTPServer, name: str, problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        checkpoint_folder(name)


def test_finding_a_folder_imports_no_torch() -> None:
    light = "fashion_clip.checkpoint, fashion_clip.decode, fashion_clip.scoring"
    code = f"import sys, {light}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "fashion_clip.decode" in modules.split()
    assert {"torch", "transformers", "huggingface_hub"}.isdisjoint(modules.split())
