"""What it costs to decode photos in processes of their own, against decoding them here.

    python -m benchmarks.decoding [FOLDER]

FOLDER holds photos; the demo's if left out. They are made JPEGs of each size of SIZES. Printed
are photos a second, which a busy machine changes, and milliseconds of processor time a photo, which it hardly
does: of this process, and of the others.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path

import psutil
from PIL import Image

from fashion_clip.decode import Limits, decode_image
from fashion_clip.decoders import Decoders
from fashion_clip.demo import PHOTOS_DIR
from fashion_clip.preprocessing import parse_preprocessing, photo_pixels

SIZES = {(60, 80): 2_000, (800, 1000): 300}  # (width, height): how many photos
BATCH = 32
PROCESSES = 2
CLIP = parse_preprocessing({}, "CLIP's own")


def main() -> None:
    """Prints a line for each size and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=PHOTOS_DIR)
    folder = parser.parse_args().folder
    decoders = Decoders(CLIP, Limits(), seconds=60, processes=PROCESSES)
    with ThreadPoolExecutor(2) as threads, decoders:
        ways: dict[str, Callable[[Sequence[bytes]], object]] = {
            "here, 1 thread": lambda batch: [here(photo) for photo in batch],
            "here, 2 threads": lambda batch: list(threads.map(here, batch)),
            f"{PROCESSES} processes": decoders.decode_all,
        }
        for size, count in SIZES.items():
            photos = jpegs(folder, size, count)
            for name, way in ways.items():
                way(photos[:BATCH])
                print(f"{size[0]:>4} x {size[1]:<5}{name:<16}{measured(way, photos)}", flush=True)


def jpegs(folder: Path, size: tuple[int, int], count: int) -> list[bytes]:
    """`count` photos of that size, repeated where the folder has fewer."""
    made = []
    for path in islice(sorted(folder.iterdir()), count):
        buffer = BytesIO()
        picture = decode_image(path.read_bytes()).resize(size, Image.Resampling.BICUBIC)
        picture.save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return list(islice(cycle(made), count))


def here(photo: bytes) -> object:
    return photo_pixels(photo, CLIP, Limits())


def measured(way: Callable[[Sequence[bytes]], object], photos: Sequence[bytes]) -> str:
    began, own, others = time.perf_counter(), time.process_time(), processor_time_of_children()
    for start in range(0, len(photos), BATCH):
        way(photos[start : start + BATCH])
    own, others = time.process_time() - own, processor_time_of_children() - others
    rate = len(photos) / (time.perf_counter() - began)
    return f"{rate:6.0f} a second  {1000 * own / len(photos):6.2f} + {1000 * others / len(photos):.2f} ms"


def processor_time_of_children() -> float:
    times = [child.cpu_times() for child in psutil.Process().children()]
    return float(sum(of_one.user + of_one.system for of_one in times))


if __name__ == "__main__":
    main()
