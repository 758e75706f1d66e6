"""Reads the JSON that nccl-tests writes with -J (version 2 and 3 of it, since 2.17.3; src/util.cu).

It spells booleans as strings and NaN as "nan"; an infinity stands bare, which is no JSON. Of each process it lists only
the first GPU. A program that was killed leaves it cut. It also holds the whole environment, which is left where it is.
"""

from typing import Annotated, Literal

import msgspec

from autoexp.nccl.found import Half, Log, Row, Run, Sweep

Number = float | Literal["nan", "-nan", "inf", "-inf"]
Few = Annotated[int, msgspec.Meta(ge=1, le=128)]
_NO = (False, "false")
Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class _Device(msgspec.Struct):
    rank: int
    hostname: str
    group: int = 0


class _Config(msgspec.Struct):
    devices: list[_Device]
    minimum_bytes: Size = 0
    maximum_bytes: Size = 0
    nthreads: Few = 1
    ngpus: Few = 1
    step_factor: Size = 0
    step_bytes: Size = 0


class _Half(msgspec.Struct):
    alg_bw: Number
    bus_bw: Number
    nwrong: Number | Literal["N/A"] | None = None


class _Result(msgspec.Struct):
    size: Size
    out_of_place: _Half | None = None
    in_place: _Half | None = None


class _Bounds(msgspec.Struct):
    count: int
    okay: bool | str = "unchecked"


class _Average(msgspec.Struct):
    bandwidth: Number
    okay: bool | str = "unchecked"


class _Document(msgspec.Struct):
    version: Literal[2, 3]
    config: _Config
    results: list[_Result]
    out_of_bounds: _Bounds
    average_bus_bandwidth: _Average
    errors: list[str | None] = []


def read(log: Log, text: str) -> None:
    """Add what the document holds; one that is cut, or of another version, is a broken line."""
    try:
        found = msgspec.json.decode(text, type=_Document)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        log.broken.append(f"JSON that is cut, no JSON, or of another version: {error}")
        return
    log.errors += [error for error in found.errors if error]
    bounds, average, config = found.out_of_bounds, found.average_bus_bandwidth, found.config
    run = Run(
        headers=1,
        sweep=_sweep(config),
        per_process=config.nthreads * config.ngpus,
        groups={str(device.group) for device in config.devices},
        hosts={device.hostname for device in config.devices},
        rows=[_row(result) for result in found.results],
        out_of_bounds=[float(max(bounds.count, bounds.okay in _NO))],
        averages=[float(average.bandwidth)],
        below_own_minimum=average.okay in _NO,
    )
    run.ranks = _ranks([device.rank for device in config.devices], run.per_process)
    log.runs.append(run)


def _sweep(config: _Config) -> Sweep:
    return Sweep(
        first_bytes=config.minimum_bytes,
        last_bytes=config.maximum_bytes,
        step=config.step_factor or config.step_bytes,
        by_factor=config.step_factor > 1,
    )


def _ranks(listed: list[int], per_process: int) -> list[int]:
    """Add the ranks that are not listed: all of a process but its first."""
    if listed == [number * per_process for number in range(len(listed))]:
        return list(range(len(listed) * per_process))
    return listed


def _row(result: _Result) -> Row:
    halves = [half for half in (result.out_of_place, result.in_place) if half is not None]
    counted = [float(half.nwrong) for half in halves if half.nwrong not in (None, "N/A")]
    return Row(
        size_bytes=result.size,
        halves=tuple(Half(algbw_gbps=float(half.alg_bw), busbw_gbps=float(half.bus_bw)) for half in halves),
        wrong=sum(map(abs, counted)),
    )
