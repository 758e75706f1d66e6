from autoexp.importers.notes import Notes
from autoexp.places import Places


def test_a_note_says_where_and_is_kept_once() -> None:
    notes = Notes(Places("old.yaml", {("lr",): "old.yaml:3"}))

    notes.tell("unsure", ("lr",), "odd")
    notes.tell("unsure", ("lr",), "odd")

    assert notes.warnings == [{"code": "unsure", "where": "old.yaml:3: lr", "message": "odd"}]
