"""Decoder processes give the pixels that this one would; a photo that kills or hangs one costs itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fashion_clip import decoders
from fashion_clip.decode import Limits
from fashion_clip.decoder_process import Work
from fashion_clip.decoders import Decoders
from fashion_clip.demo import PHOTOS_DIR
from fashion_clip.errors import FashionClipError, ImageError
from fashion_clip.preprocessing import Preprocessing, parse_preprocessing, photo_pixels
from tests.fashion_clip.endless_jpeg import endless_jpeg

ROOT = Path(decoders.__file__).parents[1]
PHOTOS = [path.read_bytes() for path in sorted(PHOTOS_DIR.iterdir())]
CLIP = parse_preprocessing({}, "CLIP's own")
SMALL = parse_preprocessing({"size": 32, "crop_size": 32}, "as the demo model's")

Result = npt.NDArray[np.uint8] | ImageError


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


ENDLESS = endless_jpeg()


def here(data: bytes, preprocessing: Preprocessing, limits: Limits) -> Result:
    try:
        return photo_pixels(data, preprocessing, limits)
    except ImageError as error:
        return error


def assert_same(results: list[Result], expected: list[Result]) -> None:
    for result, wanted in zip(results, expected, strict=True):
        if isinstance(wanted, ImageError):
            assert isinstance(result, ImageError)
            assert (result.reason, result.detail) == (wanted.reason, wanted.detail)
        else:
            assert not isinstance(result, ImageError), result
            assert result.dtype == np.uint8
            np.testing.assert_array_equal(result, wanted)


def assert_as_here(pool: Decoders, files: list[bytes], preprocessing: Preprocessing = SMALL) -> None:
    assert_same(pool.decode_all(files), [here(data, preprocessing, Limits()) for data in files])


def reason_of(result: Result) -> str:
    assert isinstance(result, ImageError), "it was decoded"
    return result.reason


def processes_of(parent: int) -> list[psutil.Process]:
    """The decoder processes of another process that are alive."""
    found = []
    for child in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "fashion_clip.decoder_process" in child.cmdline():
                found.append(child)
    return found


Started = Callable[[], list[psutil.Process]]


@pytest.fixture
def started() -> Started:
    """Tells which decoder processes that this test has started are alive."""
    before = set(processes_of(os.getpid()))
    return lambda: [process for process in processes_of(os.getpid()) if process not in before]


def wait_until(true: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within 30 s: {what}")


def busy(process: psutil.Process) -> bool:
    """Whether it has worked for a while: on ENDLESS, as nothing else here takes so long."""
    times = process.cpu_times()
    return bool(times.user + times.system > 0.6)


@pytest.fixture(scope="module")
def shared() -> Iterator[Decoders]:
    """Two processes, for tests that leave them as they are."""
    with Decoders(SMALL, Limits(), seconds=60, processes=2) as pool:
        yield pool


def test_the_demo_photos_give_the_pixels_they_give_here() -> None:
    with Decoders(CLIP, Limits(), seconds=60) as pool:
        assert_as_here(pool, PHOTOS, CLIP)


def odd_files() -> dict[str, bytes]:
    photo = Image.open(BytesIO(PHOTOS[0])).convert("RGB").resize((61, 83))
    clear = photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    sixteen = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "grey": encoded(photo.convert("L")),
        "palette": encoded(photo.quantize(32), transparency=3),
        "1 bit": encoded(photo.convert("1")),
        "CMYK": encoded(photo.convert("CMYK"), "JPEG"),
        "alpha": encoded(clear),
        "grey and alpha": encoded(clear.convert("LA")),
        "16 bits": encoded(sixteen),
        "float": encoded(photo.convert("F"), "TIFF"),
        "turned": encoded(photo, "JPEG", exif=turned),
        "WebP": encoded(clear, "WEBP"),
        "AVIF": encoded(clear, "AVIF"),
        "GIF": encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)]),
        "LZW": encoded(photo, "TIFF", compression="tiff_lzw"),
        "a strip": encoded(photo.resize((3, 1500))),
        "one pixel": encoded(photo.resize((1, 1))),
        "half a file": PHOTOS[1][: len(PHOTOS[1]) // 2],
        "half a TIFF": encoded(photo, "TIFF", compression="tiff_lzw")[:3000],
        "LAB": encoded(Image.new("LAB", (3, 3)), "TIFF"),
        "no picture": b"<!doctype html>",
        "nothing": b"",
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"size": [31, 47], "do_center_crop": False, "resample": 1},
        {"do_resize": False, "crop_size": [50, 41], "rescale_factor": 0.1, "image_mean": [0.1, 0.3, 1 / 3]},
        {"size": 20, "crop_size": 20, "do_normalize": False, "do_rescale": False},
    ],
)
def test_odd_files_and_settings_end_as_they_do_here(config: dict[str, Any]) -> None:
    preprocessing = parse_preprocessing(config, "here")
    with Decoders(preprocessing, Limits(), seconds=60, processes=1) as pool:
        assert_as_here(pool, list(odd_files().values()), preprocessing)


@given(st.floats(allow_nan=False), st.floats(min_value=1e-300, max_value=1e300), st.integers(1, 2**60))
def test_settings_arrive_as_they_left(number: float, seconds: float, size: int) -> None:
    preprocessing = Preprocessing((size, 3), 2, (size, 5), number, (number, 0.1, 1 / 3), (number, 1.0, 2.0))
    work = Work(preprocessing, Limits(size, size), seconds, size)
    assert Work.from_json(work.to_json()) == work
    assert Work.from_json(work.to_json()).preprocessing.as_dict() == preprocessing.as_dict()


def test_limits_are_the_caller_s() -> None:
    photo = Image.open(BytesIO(PHOTOS[0]))
    data = encoded(photo.convert("RGB"))
    for limits, reason in (
        (Limits(max_bytes=len(data) - 1), "too_large"),
        (Limits(max_pixels=photo.width * photo.height - 1), "too_many_pixels"),
    ):
        with Decoders(SMALL, limits, seconds=60, processes=1) as pool:
            assert_same(pool.decode_all([data]), [here(data, SMALL, limits)])
            assert reason_of(pool.decode_all([data])[0]) == reason
    # More than Pillow would open by itself, were it not told.
    large = encoded(Image.new("1", (13_500, 13_500)))
    with Decoders(SMALL, Limits(max_pixels=13_500**2), seconds=60, processes=1) as pool:
        assert pool.decode(large).shape == (32, 32, 3)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
@example(b"\xff\xd8\xff")
@example(b"\x89PNG\r\n\x1a\n")
@example(b"GIF89a\xff\xff\xff\xff")
def test_whatever_bytes_raise_nothing_but_image_error(shared: Decoders, data: bytes) -> None:
    with suppress(ImageError):
        shared.decode(data)


SEEDS = [encoded(Image.linear_gradient("L"), name) for name in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "AVIF")]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damage_ends_as_it_does_here(shared: Decoders, seed: bytes, data: st.DataObject) -> None:
    damaged = bytearray(seed[: data.draw(st.integers(1, len(seed)))])
    for _ in range(data.draw(st.integers(0, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert_as_here(shared, [bytes(damaged)])


def test_many_threads_share_few_processes(shared: Decoders) -> None:
    expected = [here(data, SMALL, Limits()) for data in PHOTOS[:64]]
    with ThreadPoolExecutor(8) as threads:
        batches = [threads.submit(shared.decode_all, PHOTOS[:64]) for _ in range(4)]
        single = list(threads.map(shared.decode, PHOTOS[:64]))
        for batch in batches:
            assert_same(batch.result(), expected)
    assert_same(list(single), expected)


def test_a_photo_that_fills_the_pipes(shared: Decoders) -> None:
    large = encoded(Image.effect_noise((4500, 4400), 50).convert("RGB"), "BMP")
    assert len(large) > 59_000_000
    with Decoders(parse_preprocessing({"size": 900, "crop_size": 900}, "large"), Limits(), 60, 2) as pool:
        results = pool.decode_all([large] * 3)
    assert [result.shape for result in results if not isinstance(result, ImageError)] == [(900, 900, 3)] * 3
    assert shared.decode_all([]) == []


def test_a_photo_that_takes_for_ever_costs_itself(started: Started) -> None:
    files = [*PHOTOS[:5], ENDLESS, *PHOTOS[5:20], ENDLESS, *PHOTOS[20:32]]
    with Decoders(SMALL, Limits(), seconds=1, processes=2) as pool:
        results = pool.decode_all(files)
        late = [results.pop(21), results.pop(5)]
        assert [reason_of(result) for result in late] == ["too_slow"] * 2
        assert_same(results, [here(data, SMALL, Limits()) for data in PHOTOS[:32]])
        assert len(started()) <= 2
        assert not any(map(busy, started()))
        assert_as_here(pool, PHOTOS[:10])


def test_a_process_that_dies_costs_its_photo(started: Started) -> None:
    with Decoders(SMALL, Limits(), seconds=60, processes=2) as pool, ThreadPoolExecutor(1) as thread:
        pool.decode_all(PHOTOS[:4])
        batch = thread.submit(pool.decode_all, [PHOTOS[0], ENDLESS, *PHOTOS[1:20]])
        wait_until(lambda: any(map(busy, started())), "a process at work on the endless photo")
        for process in filter(busy, started()):
            process.send_signal(signal.SIGSEGV)
        results = batch.result(timeout=30)
        assert isinstance(results[1], ImageError)
        assert results[1].reason == "decoder_died"
        assert "signal 11" in results[1].detail
        del results[1]
        assert_same(results, [here(data, SMALL, Limits()) for data in PHOTOS[:20]])
        assert_as_here(pool, PHOTOS[:10])


def test_a_process_that_stands_still_costs_its_photo(started: Started) -> None:
    with Decoders(SMALL, Limits(), seconds=0.5, processes=1) as pool:
        pool.decode(PHOTOS[0])
        (process,) = started()
        process.suspend()
        assert reason_of(pool.decode_all(PHOTOS[:1])[0]) == "too_slow"
        assert not process.is_running()
        # It also has to be noticed where the photo does not fit into the pipe.
        pool.decode(PHOTOS[0])
        started()[0].suspend()
        assert reason_of(pool.decode_all([b"\x00" * 1_000_000])[0]) == "too_slow"
        assert_as_here(pool, PHOTOS[:2])


def test_a_process_that_died_idle_costs_nothing(started: Started) -> None:
    with Decoders(SMALL, Limits(), seconds=60, processes=2) as pool:
        pool.decode_all(PHOTOS[:20])
        processes = started()
        for process in processes:
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its last thread, not its first
        assert_as_here(pool, PHOTOS[:20])


def test_a_photo_that_takes_too_much_memory_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "MEMORY_PER_PIXEL", 0)
    large = encoded(Image.new("RGB", (9000, 9000)), compress_level=1)
    with Decoders(SMALL, Limits(), seconds=60, processes=2) as pool:
        results = pool.decode_all([*PHOTOS[:5], large, *PHOTOS[5:10]])
        assert reason_of(results.pop(5)) == "out_of_memory"
        assert_same(results, [here(data, SMALL, Limits()) for data in PHOTOS[:10]])
    monkeypatch.undo()
    with Decoders(SMALL, Limits(), seconds=60, processes=1) as pool:
        assert pool.decode(large).shape == (32, 32, 3)


@pytest.mark.parametrize("mode", ["RGBA", "F"])
def test_a_large_picture_is_in_memory_no_more_than_twice(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(max_bytes=4_000_000, max_pixels=7000 * 7000)
    monkeypatch.setattr(decoders, "BASE_MEMORY", 200 * 1024 * 1024)  # a process takes 130 before it decodes
    monkeypatch.setattr(decoders, "MEMORY_PER_PIXEL", 9)  # of which one copy takes 4
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = Image.new(mode, (7000, 7000), 1 if mode == "F" else (0, 0, 255, 128))
    data = encoded(picture, "TIFF", compression="tiff_lzw") if mode == "F" else encoded(picture, exif=turned)
    with Decoders(SMALL, limits, seconds=60, processes=1) as pool:
        assert pool.decode(data).shape == (32, 32, 3)


def test_what_a_process_may_and_knows(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("AWS_SECRET_ACCESS_KEY", "FASHION_CLIP_DATABASE_URL", "PGPASSWORD", "PREFECT_API_KEY")
    for name in secrets:
        monkeypatch.setenv(name, "s3cr3t")
    with Decoders(SMALL, Limits(), seconds=60, processes=1) as pool:
        pool.decode(PHOTOS[0])
        (process,) = started()
        environment = process.environ()
        assert not set(secrets) & set(environment)
        assert "s3cr3t" not in " ".join([*environment.values(), *process.cmdline()])
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_AS)[0] == pytest.approx(2 * 2**30, rel=0.1)
        files = {int(file.name): str(file.readlink()) for file in Path(f"/proc/{process.pid}/fd").iterdir()}
        assert [files.pop(standard) for standard in range(3)] == [os.devnull] * 3
        assert {file.partition(":")[0] for file in files.values()} <= {os.devnull, "pipe"}
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
        assert process.num_threads() == 1
        assert os.getpgid(process.pid) != os.getpgid(0)  # which Ctrl-C goes to
        process.send_signal(signal.SIGINT)
        assert_as_here(pool, PHOTOS[:2])
        assert started() == [process]


def test_processes_inherit_no_open_files(started: Started, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file, Decoders(SMALL, Limits(), 60, 1) as pool:
        os.set_inheritable(file.fileno(), True)
        pool.decode(PHOTOS[0])
        assert not started()[0].open_files()


def test_the_process_imports_nothing_heavy() -> None:
    code = "import sys, fashion_clip.decoder_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "prefect", "sqlalchemy", "pydantic", "boto3", "asyncio"}
    assert "fashion_clip.decode" in loaded.split()
    assert not heavy & set(loaded.split())


def test_closing_ends_every_process(started: Started) -> None:
    pool = Decoders(SMALL, Limits(), seconds=60, processes=2)
    with ThreadPoolExecutor(2) as threads:
        pool.decode_all(PHOTOS[:9])
        failures = [threads.submit(pool.decode, ENDLESS) for _ in range(2)]
        wait_until(lambda: sum(map(busy, started())) == 2, "both at work")
        began = {process.pid for process in started()}
        pool.close()
        assert [type(failure.exception(timeout=10)) for failure in failures] == [ImageError] * 2
    assert not any(psutil.pid_exists(pid) for pid in began)  # and no zombies either
    for use in (lambda: pool.decode(PHOTOS[0]), lambda: pool.decode_all(PHOTOS[:2])):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    pool.close()


def test_processes_end_with_what_holds_them(started: Started) -> None:
    pool = Decoders(SMALL, Limits(), seconds=60, processes=2)
    pool.decode_all(PHOTOS[:9])
    assert started()
    del pool
    wait_until(lambda: not started(), "the processes' end")


def test_a_process_that_does_not_come_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "PIL.py").write_text("raise ImportError('a Pillow for another machine')")
    with Decoders(SMALL, Limits(), seconds=60, processes=2) as pool:
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(FashionClipError, match=r"does not come up: ImportError: a Pillow for another"):
            pool.decode_all(PHOTOS[:20])
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        with pytest.raises(FashionClipError, match="cannot be started"):
            pool.decode(PHOTOS[0])
        monkeypatch.undo()
        assert_as_here(pool, PHOTOS[:3])


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 8,
        (2).to_bytes(8, "big") + b"{}" + (5).to_bytes(8, "big") + b"12345",
        (5).to_bytes(8, "big") + b"[1,2]",
        (4).to_bytes(8, "big") + b"\xff\xfe{}",
        (35).to_bytes(8, "big") + b'{"reason":"made up","detail":"so"}}',
        (34).to_bytes(8, "big") + b'{"reason":"made up","detail":"so"}',
        (100).to_bytes(8, "big") + b"{",
        (60_000).to_bytes(8, "big") + b"[" * 60_000,
        (33).to_bytes(8, "big") + b'{"reason":"broken","detail":"\\n"}',
        (32).to_bytes(8, "big") + b'{"reason":"broken","detail":123}',
    ],
)
def test_nonsense_for_an_answer(answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a process that a photo has taken over."""
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\n"
        "import os\nos.read(0, 4096)\n"
        "os.write(1, bytes(7) + b'\\x02{}')\nos.read(0, 9000)\n"
        f"os.write(1, {answer!r})\n"
    )
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    with Decoders(SMALL, Limits(), seconds=60, processes=1) as pool:
        assert reason_of(pool.decode_all(PHOTOS[:1])[0]) == "decoder_died"


def test_a_forked_copy_has_processes_of_its_own(shared: Decoders) -> None:
    shared.decode_all(PHOTOS[:20])
    ours = set(processes_of(os.getpid()))
    copies = []
    for _ in range(2):
        copy = os.fork()
        if copy == 0:
            good = False
            with suppress(BaseException):
                assert_as_here(shared, PHOTOS[:40])
                assert processes_of(os.getpid())
                shared.close()
                good = not processes_of(os.getpid())
            os._exit(0 if good else 1)
        copies.append(copy)
    for _ in range(5):
        assert_as_here(shared, PHOTOS[:40])
    assert [os.waitpid(copy, 0)[1] for copy in copies] == [0, 0]
    assert ours == set(processes_of(os.getpid()))


def parent(code: str, folder: Path, **options: Any) -> "subprocess.Popen[str]":
    """Another process, in another folder, that has Decoders; its output is a pipe."""
    program = f"import json, sys, time\nsys.path.insert(0, {str(ROOT)!r})\n" + textwrap.dedent(code)
    (folder / "numpy.py").write_text("raise SystemExit('the folder that it runs in is no place for modules')")
    script = folder / "elsewhere" / "parent.py"
    script.parent.mkdir()
    script.write_text(program)
    return subprocess.Popen(
        [sys.executable, str(script)], cwd=folder, stdout=subprocess.PIPE, text=True, **options
    )


USE = """
    from pathlib import Path
    from fashion_clip.decode import Limits
    from fashion_clip.decoders import Decoders
    from fashion_clip.demo import PHOTOS_DIR
    from fashion_clip.preprocessing import parse_preprocessing
    SMALL = parse_preprocessing({"size": 32, "crop_size": 32}, "here")
    photo = next(PHOTOS_DIR.iterdir()).read_bytes()
"""


def test_a_plain_script_in_another_folder(tmp_path: Path) -> None:
    code = """
    pool = Decoders(SMALL, Limits(), 60, 1)
    print(json.dumps(pool.decode(photo).shape))
    """
    process = parent(USE + code, tmp_path)  # it ends without closing
    assert json.loads(process.communicate(timeout=60)[0]) == [32, 32, 3]
    assert process.returncode == 0


def test_more_processor_time_than_a_photo_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "GUARD", 0.01)
    with Decoders(SMALL, Limits(), seconds=60, processes=1) as pool:
        with pytest.raises(ImageError, match=r"too_slow: .*processor time"):
            pool.decode(ENDLESS)
        assert_as_here(pool, PHOTOS[:2])


def test_a_checkout_uses_its_own_code(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fashion_clip", tmp_path / "fashion_clip")
    decode = tmp_path / "fashion_clip" / "decode.py"
    decode.write_text(decode.read_text().replace("cannot be opened as", "this checkout cannot open"))
    code = """
    from fashion_clip.decode import Limits
    from fashion_clip.decoders import Decoders
    from fashion_clip.preprocessing import parse_preprocessing
    print(Decoders(parse_preprocessing({}, ""), Limits(), 60, 1).decode_all([b"no picture"]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "this checkout cannot open" in told


def test_orphans_end(tmp_path: Path) -> None:
    (tmp_path / "endless").write_bytes(ENDLESS)
    code = """
    import threading
    from fashion_clip import decoders
    decoders.GUARD = 0.03
    pool = Decoders(SMALL, Limits(), 60, 2)
    pool.decode_all([photo] * 20)
    threading.Thread(target=pool.decode, args=(Path("endless").read_bytes(),)).start()
    """
    process = parent(USE + code, tmp_path)
    wait_until(lambda: any(map(busy, processes_of(process.pid))), "a process at work on the endless photo")
    process.send_signal(signal.SIGSTOP)
    children = processes_of(process.pid)
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()
    assert children
    wait_until(lambda: not any(child.is_running() for child in children), "the orphans' end")


def test_the_time_in_which_all_were_stopped_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(endless_jpeg(scans=60))
    code = """
    pool = Decoders(SMALL, Limits(), 3, 1)
    pool.decode(photo)
    print("started", flush=True)
    print(json.dumps(pool.decode(Path("long").read_bytes()).shape))
    """
    process = parent(USE + code, tmp_path)
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    child = processes_of(process.pid)[0]
    process.send_signal(signal.SIGSTOP)
    child.suspend()
    time.sleep(3.5)
    child.resume()
    process.send_signal(signal.SIGCONT)
    assert json.loads(process.communicate(timeout=60)[0]) == [32, 32, 3]


def test_ctrl_c_is_the_parent_s(tmp_path: Path) -> None:
    code = """
    import os, signal
    pool = Decoders(SMALL, Limits(), 60, 1)
    first = pool.decode(photo)
    try:
        os.killpg(0, signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        again = pool.decode(photo)
    print(json.dumps(bool((first == again).all())))
    """
    process = parent(USE + code, tmp_path, start_new_session=True)
    assert json.loads(process.communicate(timeout=60)[0]) is True


def test_an_interrupted_decode_leaves_no_answer_behind() -> None:
    with Decoders(SMALL, Limits(), seconds=60, processes=1) as pool:
        pool.decode(PHOTOS[0])
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            pool.decode(ENDLESS)
        timer.join()
        assert_as_here(pool, PHOTOS[:3])
