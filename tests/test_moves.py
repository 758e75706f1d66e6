from autoexp.moves import line


def test_a_move_that_stays_where_it_is_says_so_and_keeps_file_numbers_to_itself() -> None:
    record = {"at": "2026-11-20T21:40:01.123456Z", "study": "demo", "job": "one", "trigger": "checkpoint_saved"}
    evidence = {"iteration": 200, "inode": 7, "ctime_ns": 8, "offset": 9}

    told = line(
        {**record, "from": "running", "to": "running", "evidence": evidence, "actions": ["appear a", "appear b"]}
    )

    assert told == (
        "2026-11-20T21:40:01.123Z demo/one checkpoint_saved: still running iteration=200 [appear a; appear b]"
    )
