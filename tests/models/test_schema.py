"""What schema.py and operators.py say of a .tflite, held against the runtime's own generated schema."""

import inspect
import re
from collections.abc import Iterator

import pytest

from models import operators, schema
from models.schema import Child, Children, Layout, Scalars, Text, Union

generated = pytest.importorskip("ai_edge_litert.schema_py_generated")
SOURCE = inspect.getsource(generated)


def members(union: object) -> dict[str, int]:
    return {name: code for name, code in vars(union).items() if not name.startswith("_")}


def named_slots(table: str) -> dict[str, int]:
    added = re.findall(rf"def {table}Add(\w+)\(builder, \w+\):\s*builder\.Prepend\w+Slot\((\d+)", SOURCE)
    return {name: int(slot) for name, slot in added}


def offset_slots(table: str) -> set[int]:
    prepended = rf"def {table}Add\w+\(builder, \w+\):\s*builder\.PrependUOffsetTRelativeSlot\((\d+)"
    return {int(slot) for slot in re.findall(prepended, SOURCE)}


def vector_item_bytes(table: str, slot: int) -> int | None:
    name = next(name for name, other in named_slots(table).items() if other == slot)
    found = re.search(
        rf"def {table}Start{name}Vector\(builder, numElems\):\s*return builder.StartVector\((\d+)", SOURCE
    )
    return int(found[1]) if found else None


def with_children(layout: Layout) -> Iterator[Layout]:
    yield layout
    for field in layout.offsets:
        match field:
            case Child(_, inner) | Children(_, inner):
                yield from with_children(inner)
            case Union(_, _, inners):
                for inner in inners.values():
                    yield from with_children(inner)


LAYOUTS = {
    layout.name: layout
    for root in (
        schema.QUANTIZATION,
        schema.SPARSITY,
        schema.VARIANT,
        schema.OPERATOR_CODE,
        *schema.OPTIONS.values(),
        *schema.OPTIONS_2.values(),
    )
    for layout in with_children(root)
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_is_that_of_the_schema(layout: Layout) -> None:
    """A table that is copied has the fields that the schema gives it, and its offsets are those that are followed."""
    started = re.search(rf"def {layout.name}Start\(builder\):\s*builder\.StartObject\((\d+)\)", SOURCE)
    assert started is not None
    assert layout.fields == int(started[1])
    assert {field.slot for field in layout.offsets} == offset_slots(layout.name)
    for field in layout.offsets:
        match field:
            case Scalars(slot, item_bytes):
                assert vector_item_bytes(layout.name, slot) == item_bytes
            case Text(slot):
                assert vector_item_bytes(layout.name, slot) is None
            case Union(slot, type_slot, _):
                names = {other: name for name, other in named_slots(layout.name).items()}
                assert names[type_slot] == f"{names[slot]}Type"


@pytest.mark.parametrize(
    ("layouts", "union"), [(schema.OPTIONS, "BuiltinOptions"), (schema.OPTIONS_2, "BuiltinOptions2")]
)
def test_options_are_those_of_the_union(layouts: dict[int, Layout], union: str) -> None:
    """Every member of the options' unions has a layout under its code."""
    assert {layout.name: code for code, layout in layouts.items()} | {"NONE": 0} == members(getattr(generated, union))


def test_operator_names_are_those_of_the_schema() -> None:
    """Every builtin operator has its name at its code."""
    assert {name: code for code, name in enumerate(operators.BUILTIN_NAMES)} == members(generated.BuiltinOperator)


def test_tensor_types_are_those_of_the_schema() -> None:
    """Every element type has its name at its code."""
    names = {name.upper(): code for code, (name, _) in enumerate(schema.TENSOR_TYPES)}
    assert names == members(generated.TensorType)


def test_subgraph_slots_are_those_of_the_schema() -> None:
    """Every field of an options table that names a subgraph is followed."""
    vectors = {kind: (slot,) for kind, slot in operators.SUBGRAPH_VECTOR_SLOTS.items()}
    tables = {kind.replace("_", ""): slots for kind, slots in (operators.SUBGRAPH_SLOTS | vectors).items()}
    for layout in (*schema.OPTIONS.values(), *schema.OPTIONS_2.values()):
        found = {
            slot
            for name, slot in named_slots(layout.name).items()
            if "Subgraph" in name or name == "CalledComputations"
        }
        assert set(tables.get(layout.name.removesuffix("Options").upper(), ())) == found, layout.name


@pytest.mark.parametrize("table", ["Model", "SubGraph", "Tensor", "Operator", "OperatorCode", "Buffer", "Metadata"])
def test_slots_of_rebuilt_tables_are_those_of_the_schema(table: str) -> None:
    """A table that is built anew has the schema's number of fields; one that is added must be thought about."""
    known = {"Model": 10, "SubGraph": 6, "Tensor": 11, "Operator": 14, "OperatorCode": 4, "Buffer": 3, "Metadata": 2}
    started = re.search(rf"def {table}Start\(builder\):\s*builder\.StartObject\((\d+)\)", SOURCE)
    assert started is not None
    assert int(started[1]) == known[table]
