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


WIDTHS = {"Int8": 1, "Bool": 1, "Uint8": 1, "Int32": 4, "Uint32": 4, "Float32": 4, "UOffsetTRelative": 4}
WIDTHS |= {"Int64": 8, "Uint64": 8}
LAYOUTS = {layout.name: layout for layout in with_children(schema.MODEL)}


def widths(table: str) -> str:
    """The bytes of each field, as the generated code writes them; 0 for one that it no longer writes."""
    started = re.search(rf"def {table}Start\(builder\):\s*builder\.StartObject\((\d+)\)", SOURCE)
    assert started is not None
    added = re.findall(rf"def {table}Add\w+\(builder, \w+\):\s*builder\.Prepend(\w+)Slot\((\d+)", SOURCE)
    by_slot = {int(slot): WIDTHS[kind] for kind, slot in added}
    return "".join(str(by_slot.get(slot, 0)) for slot in range(int(started[1])))


def test_layouts_are_all_tables_of_the_schema() -> None:
    """Every table of the schema hangs from the root's layout, so that nothing in a file goes unverified."""
    assert set(LAYOUTS) == set(re.findall(r"def (\w+)Start\(builder\)", SOURCE))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_is_that_of_the_schema(layout: Layout) -> None:
    """A table has the fields that the schema gives it, and its offsets are those that are followed."""
    assert layout.widths == widths(layout.name)
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
