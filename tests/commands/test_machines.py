import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.commands.conftest import Say
    from tests.conftest import Room


def test_each_machine_has_a_line_and_the_one_we_are_on_an_asterisk(here: "Room", say: "Say") -> None:
    (here.home / "machines" / "ours.yaml").write_text(
        "description: the big one\nexecutor: slurm\nidentify: {environment: {HOME: " + str(here.home) + "}}\n"
        "partitions: {gpu: {gpus_per_node: 8, gpu: H100}, old: {gpus_per_node: 4}, cpu: {gpus_per_node: 0}}\n"
    )

    done = say("machines")
    lines = {line[2:].split()[0]: line for line in done.out.splitlines()}

    assert (done.status, done.err) == (0, "")
    assert {"ours", "local", "lumi", "leonardo", "jupiter", "snellius"} <= lines.keys()
    assert [name for name, line in lines.items() if line.startswith("*")] == ["ours"]
    assert "slurm  8 H100, 4 GPUs" in lines["ours"]
    assert "gpu, old, cpu" in lines["ours"]
    assert lines["ours"].endswith(f"the big one (this one: HOME={here.home})")
    assert "8 MI250X GCD" in lines["lumi"]


def test_the_list_as_json_says_which_rule_holds_and_what_a_file_extends(here: "Room", say: "Say") -> None:
    (here.home / "machines" / "mine.yaml").write_text("extends: lumi\naccount: lab\n")

    told = json.loads(say("machines", "--json").out)
    found = {one["machine"]: one for one in told["machines"]}

    assert told["here"] == "local"
    assert [one["machine"] for one in told["machines"] if one["here"]] == ["local"]
    assert found["local"]["why"] == "no machine's identify rule holds"
    assert found["mine"]["extends"] == ["lumi", "slurm"]
    assert found["mine"]["file"] == str(here.home / "machines" / "mine.yaml")
    assert (found["mine"]["executor"], found["mine"]["why"]) == ("slurm", None)
    assert found["lumi"]["gpus"] == ["8 MI250X GCD"]
    assert found["lumi"]["partitions"][0] == "standard-g"


def test_the_host_s_own_name_is_what_the_rule_is_held_against(room: "Room") -> None:
    room.prefix = ("unshare", "--uts", "sh", "-c", 'hostname uan07 && exec "$@"', "sh")

    (line,) = [line for line in room.run("machines").stdout.splitlines() if line.startswith("*")]

    assert line.startswith("* lumi ")
    assert line.endswith("(this one: the host is uan07)")


def test_a_machine_file_that_is_wrong_is_told_with_its_line(here: "Room", say: "Say") -> None:
    (here.home / "machines" / "wrong.yaml").write_text("description: x\ncpus: many\n")

    done = say("machines")

    assert done.status == 1
    assert "wrong.yaml:2: cpus: 'many' is no cpus" in done.err
