import ast
from pathlib import Path

import pytest

from autoexp import flagtable

PARSER = """
def add(parser):
    group = parser.add_argument_group(title="one")
    group.add_argument("--plain", "-p", type=int)
    group.add_argument("--both", action=argparse.BooleanOptionalAction)
    group.add_argument(name)
    left_out = ["secret"]
    ArgumentGroupFactory(Config, exclude=left_out).build_group(parser)
    ArgumentGroupFactory(Base, exclude=["depth"])
    ArgumentGroupFactory(Unknown)
"""
CONFIG = """
@dataclass
class Base:
    depth: int = 1
    fused: bool = True

@dataclass
class Config(Base):
    width_of_it: int | None = None
    secret: str = ""
    fused: bool = False
    dropout: Optional[bool] = field(default=None)
    kind: ClassVar[str] = "x"
    made: int = field(init=False)
    named: int = field(default=1, metadata={"argparse_meta": {"arg_names": ["--another", "--name"], "type": int}})
"""


def classes() -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(CONFIG).body if isinstance(node, ast.ClassDef)}


def test_flags_are_declared_one_by_one_and_as_fields_of_dataclasses() -> None:
    found = list(flagtable.flags_of(ast.parse(PARSER), classes()))

    assert [flag for flag in found if flag in ("--plain", "--both", "--no-both")] == ["--plain", "--both", "--no-both"]
    assert {"--depth", "--width-of-it", "--fused", "--another", "--name"} <= set(found)
    assert {"--secret", "--named", "--kind", "--made", "-p"}.isdisjoint(found)


def test_a_switch_that_is_not_off_is_turned_off() -> None:
    found = set(flagtable.flags_of(ast.parse(PARSER), classes()))

    assert {"--no-dropout", "--disable-dropout", "--no-fused", "--disable-fused"} <= found  # the last two are Base's
    assert "--dropout" not in found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a small Megatron-LM."""
    files = {
        "core/package_info.py": "MAJOR = 0\nMINOR = 9\nPATCH = 1\nOTHER = 7\n",
        "training/arguments.py": PARSER,
        "training/config/training.py": f"from dataclasses import dataclass\n{CONFIG}",
    }
    for name, text in files.items():
        path = tmp_path / "megatron" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_checkout_becomes_a_module(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert flagtable.main([str(checkout)]) == 0

    written: dict[str, object] = {}
    exec(compile(capsys.readouterr().out, "table", "exec"), written)  # noqa: S102 - it is what is to be written
    assert written["VERSIONS"] == "0.9.1"
    assert {"plain", "width-of-it"} <= set(written["FLAGS"])  # type: ignore[call-overload]


def test_without_a_folder_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert flagtable.main([]) == 2
    assert "python -m autoexp.flagtable MEGATRON" in capsys.readouterr().err
