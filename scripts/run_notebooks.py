"""The notebooks, run from a clean state.

    python -m scripts.run_notebooks

writes their outputs anew; run it when a notebook changed, or anything that it shows. A test runs them and
compares.
"""

import base64
import os
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = tuple(sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb")))
TIMEOUT_S = 300  # of a cell
COLOURS = 128  # of a picture: half the bytes, and no eye sees it
PNG = "image/png"
# All that is told of the kernel: no version, so that another Python changes nothing.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(file: Path) -> NotebookNode:
    """The notebook with the outputs of a new kernel, which has none of this project's settings.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook: NotebookNode = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
    resources = {"metadata": {"path": str(file.parent)}}  # where Jupyter would run it
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        resources=resources,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
    )
    with TemporaryDirectory() as folder:
        client.execute(env=_environment(folder))
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if PNG in output.get("data", {}):
                output.data[PNG] = _smaller(output.data[PNG])
    return notebook


def _environment(folder: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("FASHION_CLIP_")}
    return own | {
        "IPYTHONDIR": folder,  # not the user's profile
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's, who would draw bars
    }


def _smaller(png: str) -> str:
    out = BytesIO()
    picture = Image.open(BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main() -> None:
    """Runs and writes each."""
    for file in NOTEBOOKS:
        nbformat.write(executed(file), file)
        print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
