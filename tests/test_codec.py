import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoexp.codec import decode, encode
from autoexp.machine import Machine
from autoexp.model import (
    Answer,
    Condition,
    EndingClass,
    HookCall,
    JobSpec,
    Remedy,
    Resources,
    RetryPolicy,
    State,
    Template,
    Transition,
)

NAMES = st.text(min_size=1, max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=8)
JSONS: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
MAPPINGS = st.dictionaries(NAMES, JSONS, max_size=3)
CONDITIONS = st.recursive(
    st.builds(Condition, name=NAMES, params=MAPPINGS, jobs=st.lists(NAMES, max_size=2).map(tuple)),
    lambda inner: st.builds(Condition, name=NAMES, parts=st.lists(inner, max_size=2).map(tuple)),
    max_leaves=4,
)
ANSWERS = st.builds(
    Answer,
    remedy=st.sampled_from(Remedy),
    attempts=st.none() | st.integers(1, 9),
    reduce=st.dictionaries(NAMES, st.floats(0.1, 0.9), max_size=2),
)
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 9),
    when=st.dictionaries(st.sampled_from(EndingClass), ANSWERS, max_size=3),
    backoff_s=st.floats(0, 1e6),
)
TEMPLATES = st.builds(Template, id=NAMES, stage=NAMES, parent=NAMES, kind=st.just("job"), point=MAPPINGS)
SPECS = st.builds(
    JobSpec,
    id=NAMES,
    study=NAMES,
    stage=NAMES,
    values=MAPPINGS,
    params=MAPPINGS,
    needs=st.lists(NAMES, max_size=2).map(tuple),
    parent=st.none() | NAMES,
    iteration=st.none() | st.integers(0, 10**7),
    start=CONDITIONS,
    prepare=st.lists(st.builds(HookCall, name=NAMES, path=NAMES, values=MAPPINGS), max_size=2).map(tuple),
    env=st.dictionaries(NAMES, NAMES, max_size=2),
    resources=st.builds(Resources, nodes=st.integers(1, 9), memory_bytes=st.none() | st.integers(1)),
    retry=RETRIES,
    no_progress_s=st.none() | st.floats(0, 1e6),
    children=st.lists(TEMPLATES, max_size=2).map(tuple),
)
TRANSITIONS = st.builds(
    Transition,
    at=st.floats(0, 1e10),
    study=NAMES,
    job=NAMES,
    attempt=st.integers(0, 9),
    trigger=NAMES,
    source=st.none() | st.sampled_from(State),
    target=st.sampled_from(State),
    evidence=MAPPINGS,
    changes=MAPPINGS,
    actions=st.lists(NAMES, max_size=2).map(tuple),
)


@settings(max_examples=150)
@given(st.one_of(SPECS, TRANSITIONS, st.builds(Machine, name=NAMES, environment=st.lists(NAMES).map(tuple))))
def test_what_is_encoded_as_json_is_decoded_to_the_same_value(value: Any) -> None:
    assert decode(type(value), json.loads(json.dumps(encode(value)))) == value


def test_what_is_a_default_is_left_out() -> None:
    assert encode(RetryPolicy()) == {}
    assert encode(RetryPolicy(max_attempts=5)) == {"max_attempts": 5}


def test_words_are_written_as_words() -> None:
    policy = RetryPolicy(when={EndingClass.GPU_OOM: Answer(remedy=Remedy.FAIL)})

    assert json.dumps(encode(policy)) == '{"when": {"gpu_oom": {"remedy": "fail"}}}'


def test_a_tuple_of_values_is_decoded_too() -> None:
    made = decode(tuple[Template, ...], [{"id": "a", "stage": "s", "parent": "p", "kind": "job"}])

    assert made == (Template(id="a", stage="s", parent="p", kind="job"),)


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        pytest.param(RetryPolicy, {"attempts": 3}, "RetryPolicy has no attempts", id="an unknown field"),
        pytest.param(RetryPolicy, [], "RetryPolicy is written as a mapping, not as list", id="no mapping"),
        pytest.param(RetryPolicy, {"when": {"tired": "fail"}}, "tired", id="an unknown word"),
        pytest.param(RetryPolicy, {"when": [1]}, "RetryPolicy", id="a list for a mapping"),
        pytest.param(Template, {"id": "a"}, "Template", id="a field missing"),
        pytest.param(tuple[Template, ...], 3, "tuple", id="a number for a list"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(kind: Any, data: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(kind, data)
