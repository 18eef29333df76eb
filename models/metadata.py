"""The named metadata of a .tflite: small blobs that travel with the model, read and attached.

What they mean is for those who name them; segments do not carry them.
"""

from collections.abc import Mapping
from pathlib import Path

from models.emitter import write_flatbuffer
from models.errors import ModelFileError
from models.flatbuffer import Table
from models.modelfile import ModelFile, open_model
from models.nodes import Blob, BlobSpan, FileSource, Fresh, Node, Number, String, Tables, Vector, Within
from models.schema import IDENTIFIER, SCHEMA_VERSION, Buffer, Metadata, Model

_REWRITTEN = (Model.VERSION, Model.BUFFERS, Model.METADATA)


def read_metadata(path: Path, name: str) -> bytes | None:
    """The metadata `name` of the .tflite at `path`, or None where it has none of that name.

    Raises ModelFileError where the file cannot be read, ModelFormatError where it is not a valid .tflite.
    """
    with open_model(path) as model:
        for found, buffer in model.metadata():
            if found == name:
                data = model.buffer_data(buffer)
                model.flatbuffer.spend(len(data))
                return bytes(data)
    return None


def attach_metadata(path: Path, entries: Mapping[str, bytes], out: Path) -> None:
    """Write the .tflite at `path` to `out` with these metadata added; those of the same name are replaced.

    `out` may be `path`. The old file is kept whole behind a new root, so that nothing in it is interpreted anew.
    Raises ModelFileError where a file cannot be read or written, ModelFormatError where it is not a valid .tflite.
    """
    with open_model(path) as model:
        try:
            write_flatbuffer(_new_root(model, entries), IDENTIFIER, out)
        except OSError as error:
            raise ModelFileError(f"{out}: cannot be written: {error.strerror or error}") from None


def _new_root(model: ModelFile, entries: Mapping[str, bytes]) -> Fresh:
    data = model.flatbuffer.data
    body, old = Blob(data, FileSource(model.descriptor, 0)), model.root
    fields: dict[int, Number | BlobSpan | Node] = {Model.VERSION: Number("I", SCHEMA_VERSION)}
    for slot in range(len(old.offsets)):
        target = None if slot in _REWRITTEN else old.target(slot)
        if target is not None:
            fields[slot] = Within(body, target)
    added = [Fresh({Buffer.DATA: Vector(data, 1)}) for data in entries.values()]
    fields[Model.BUFFERS] = Tables([*(_moved(body, buffer) for buffer in model.buffers), *added])
    kept = [
        Within(body, table.position) for table in old.tables(Model.METADATA) if table.text(Metadata.NAME) not in entries
    ]
    new = [
        Fresh({Metadata.NAME: String(name.encode()), Metadata.BUFFER: Number("I", len(model.buffers) + place)})
        for place, name in enumerate(entries)
    ]
    fields[Model.METADATA] = Tables([*kept, *new])
    return Fresh(fields)


def _moved(body: Blob, buffer: Table) -> Within | Fresh:
    """A buffer of the old file; one whose bytes lie outside the flatbuffer names their new place."""
    offset = buffer.scalar(Buffer.OFFSET, "Q")
    if offset <= 1:
        return Within(body, buffer.position)
    size = buffer.scalar(Buffer.SIZE, "Q")
    return Fresh({Buffer.OFFSET: BlobSpan(body, "offset", offset), Buffer.SIZE: Number("Q", size)})
