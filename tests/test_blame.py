"""What goes wrong while a recipe is planned: each error names file, line and key, for whom, and the fix."""

from collections.abc import Callable

import pytest

from autoexp.errors import RecipeError
from autoexp.plan import Planner

Plans = Callable[..., Planner]

# In each recipe the line to blame ends in "# HERE"; the key and the message follow.
ERRORS = {
    # Names
    "an undefined name in a command": (
        """
        study: s
        stages:
          train:
            command: [train, "${lr}"]  # HERE
        """,
        "stages.train.command.1: ${lr} is not defined",
        "no axis, param or built-in has that name for the job train",
        "define it under params:, or use one of checkpoints, dir, job",
    ),
    "an undefined name that is nearly one": (
        """
        study: s
        params: {learning_rate: 1}
        stages:
          train:
            backend: megatron
            args:
              lr: ${lerning_rate}  # HERE
        """,
        "stages.train.args.lr: ${lerning_rate} is not defined",
        "for the job train",
        "did you mean learning_rate?",
    ),
    "an undefined name through two params": (
        """
        study: s
        params:
          batch: ${calc:'${gpus} * 2'}
          gpus: ${nodes}  # HERE
        stages:
          train: {command: [train, "${batch}"]}
        """,
        "params.gpus: ${nodes} is not defined",
        "for the job train",
        "define it under params:",
    ),
    "an undefined name in a param of the stage": (
        """
        study: s
        stages:
          train:
            params:
              batch: ${nodes}  # HERE
            command: [train, "${batch}"]
        """,
        "stages.train.params.batch: ${nodes} is not defined",
        "for the job train",
        "define it under params:",
    ),
    "an undefined name in an entry of the sweep": (
        """
        study: s
        sweep:
          configs:
            model:
              - small: {hidden: "${heads}"}  # HERE
        stages:
          train: {command: [train, "${hidden}"]}
        """,
        "sweep.configs.model.0.small.hidden: ${heads} is not defined",
        "for the job train-modelsmall",
        "define it under params:",
    ),
    "an undefined name in a sweep's filter": (
        """
        study: s
        sweep:
          params: {rate: [1]}
          filter: ${calc:'${rote} > 0'}  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.filter: ${rote} is not defined",
        "for the sweep",
        "did you mean rate?",
    ),
    "an undefined name in an axis": (
        """
        study: s
        stages:
          train:
            sweep:
              params:
                lr: ["${base}"]  # HERE
            command: [train]
        """,
        "stages.train.sweep.params.lr: ${base} is not defined",
        "for the sweep",
        "define it under params:",
    ),
    "an undefined name in a stage for each checkpoint": (
        """
        study: s
        stages:
          train: {command: [train]}
          score:
            each: {checkpoint: train}
            command: [score, "${iteratoin}"]  # HERE
        """,
        "stages.score.command.1: ${iteratoin} is not defined",
        "for the job score-train@0000001",
        "did you mean iteration?",
    ),
    "a checkpoint's iteration in a stage without checkpoints": (
        """
        study: s
        stages:
          train: {command: [train, "${iteration}"]}  # HERE
        """,
        "stages.train.command.1: ${iteration} is not defined",
        "for the job train",
        "it is known to a stage with each: {checkpoint: STAGE}",
    ),
    "an axis that the stage does not have": (
        """
        study: s
        sweep: {groups: [{params: {lr: [1]}, configs: {model: [{small: {width: 1}}, {large: {width: 2}}]}}]}
        stages:
          train: {axes: [lr], command: [train, "${width}"]}  # HERE
        """,
        "stages.train.command.1: ${width} is not defined",
        "for the job train-lr1",
        "let the stage have the axis that brings it, model",
    ),
    "a name that some entries have": (
        """
        study: s
        sweep: {configs: {model: [{small: {width: 1}}, {large: {wide: 1}}]}}
        stages:
          train: {command: [train, "${width}"]}  # HERE
        """,
        "stages.train.command.1: ${width} is not defined",
        "for the job train-modellarge",
        "only some points of the sweep have it: lend it to the others by defaults: {width: ...}",
    ),
    "a variable of the shell": (
        """
        study: s
        stages:
          train: {command: [train, "${WORK}/x"]}  # HERE
        """,
        "stages.train.command.1: ${WORK} is not defined",
        "for the job train",
        "of the shell that runs the job: \\${WORK}; of where one plans: ${oc.env:WORK}",
    ),
    "an undefined name in a script": (
        """
        study: s
        stages:
          train:
            command: |  # HERE
              echo ${x}
        """,
        "stages.train.command: ${x} is not defined",
        "for the job train",
        "define it",
    ),
    "a circle of names": (
        """
        study: s
        params:
          a: ${b}
          b: ${calc:'${a} + 1'}  # HERE
        stages: {train: {command: [train]}}
        """,
        "params.b: ${a} is defined by itself: a -> b -> a",
        "it is evaluated for the job train",
        "let one of them have a value of its own",
    ),
    "a path below a sibling that is not there": (
        """
        study: s
        stages:
          train: {command: [train]}
          report: {command: [report, "${sibling.train.parms}"]}  # HERE
        """,
        "stages.report.command.1: ${sibling.train.parms} is not defined",
        "for the job report",
        "did you mean params?",
    ),
    # Values
    "a division by zero in a param": (
        """
        study: s
        params:
          a: 0
          b: ${calc:'1 / ${a}'}  # HERE
        stages: {train: {command: [train, "${b}"]}}
        """,
        "params.b: 1 / ${a} has no value: division by zero",
        "it is evaluated for the job train",
        "correct the value",
    ),
    "a division by zero in an axis": (
        """
        study: s
        sweep:
          params:
            lr: ["${calc:'1 / 0'}"]  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.params.lr: 1 / 0 has no value: division by zero",
        "it is evaluated for the sweep",
        "correct the value",
    ),
    "a division by zero in a filter": (
        """
        study: s
        stages:
          train:
            sweep:
              params: {lr: [1, 0]}
              filter: "${calc:'1 / ${lr} > 0'}"  # HERE
            command: [train]
        """,
        "stages.train.sweep.filter: 1 / ${lr} > 0 has no value: division by zero",
        "it is evaluated for the sweep",
        "correct the value",
    ),
    "a division by zero in a stage for each checkpoint": (
        """
        study: s
        stages:
          train: {command: [train]}
          score:
            each: {checkpoint: train}
            params:
              share: ${calc:'1 / (${iteration} - 1)'}  # HERE
            command: [score, "${share}"]
        """,
        "stages.score.params.share: 1 / (${iteration} - 1) has no value: division by zero",
        "for the job score-train@0000001",
        "correct the value",
    ),
    "half an expression": (
        """
        study: s
        params:
          a: ${calc:'1 +'}  # HERE
        stages: {train: {command: [train]}}
        """,
        "params.a: 1 + is no expression",
        "for the job train",
        "correct the value",
    ),
    "an unknown resolver": (
        """
        study: s
        params:
          a: ${oc.eval:1}  # HERE
        stages: {train: {command: [train]}}
        """,
        "params.a: ${oc.eval:...} is no resolver here",
        "for the job train",
        "write what it calculates as ${calc:'...'}",
    ),
    "a variable that is not set": (
        """
        study: s
        params:
          account: ${oc.env:AUTOEXP_TEST_NONE}  # HERE
        stages: {train: {command: [train]}}
        """,
        "params.account: ${oc.env:AUTOEXP_TEST_NONE}: the environment has no AUTOEXP_TEST_NONE",
        "for the job train",
        "set it, or give a default: ${oc.env:AUTOEXP_TEST_NONE,DEFAULT}",
    ),
    "a value deep inside a mapping": (
        """
        study: s
        stages:
          train:
            backend: megatron
            args:
              list:
                - 1
                - deep: ${calc:'1 / 0'}  # HERE
        """,
        "stages.train.args.list.1.deep: 1 / 0 has no value",
        "for the job train",
        "correct the value",
    ),
    # Policies
    "an unknown resource": (
        """
        study: s
        stages:
          train:
            command: [train]
            resources:
              gpus: 4  # HERE
        """,
        "stages.train.resources.gpus: unknown key 'gpus'",
        "it is read for the job train",
        "use one of world, nodes, cpus, gpus_per_node",
    ),
    "an unknown key of retry": (
        """
        study: s
        stages:
          train:
            command: [train]
            retry: {attempts: 4}  # HERE
        """,
        "stages.train.retry.attempts: unknown key 'attempts'",
        "for the job train",
        "use one of max_attempts, when, backoff",
    ),
    "an unknown key of stall": (
        """
        study: s
        stages:
          train:
            command: [train]
            stall: {no_output: 4m}  # HERE
        """,
        "stages.train.stall.no_output: unknown key 'no_output'",
        "for the job train",
        "use one of no_progress",
    ),
    "a bare number as a duration": (
        """
        study: s
        stages:
          train:
            command: [train]
            resources:
              walltime: 21600  # HERE
        """,
        "stages.train.resources.walltime: 21600 is no duration; write it with its unit: 90s, 30m, 12h, 2d",
        "for the job train",
        "write the number with its unit",
    ),
    "a bare number as the time without progress": (
        """
        study: s
        stages:
          train:
            command: [train]
            stall: {no_progress: 30}  # HERE
        """,
        "stages.train.stall.no_progress: 30 is no duration",
        "for the job train",
        "write the number with its unit",
    ),
    "an unknown ending": (
        """
        study: s
        stages:
          train:
            command: [train]
            retry:
              when: {oom: fail}  # HERE
        """,
        "stages.train.retry.when: 'oom' is no class of ending",
        "for the job train",
        "use one of success, time_limit, preempted, node_fail, host_oom, gpu_oom",
    ),
    "an unknown remedy": (
        """
        study: s
        stages:
          train:
            command: [train]
            retry:
              when: {gpu_oom: shrug}  # HERE
        """,
        "stages.train.retry.when: 'shrug' is no remedy",
        "for the job train",
        "use one of resume, retry, exclude_node, hold, fail",
    ),
    "reducing what is no number": (
        """
        study: s
        params: {batch: 8, name: large}
        stages:
          train:
            command: [train, "${batch}"]
            retry:
              when:
                gpu_oom:
                  reduce: {name: 0.5}  # HERE
        """,
        "stages.train.retry.when.gpu_oom.reduce.name: name is no number to be reduced",
        "the job train reads it",
        "name one of the job's params: batch",
    ),
    # Conditions
    "an unknown condition": (
        """
        study: s
        stages:
          train:
            command: [train]
            start: {moon_is_full: {}}  # HERE
        """,
        "stages.train.start: unknown condition 'moon_is_full'",
        "nobody answers it for the job train",
        "use one of job_succeeded, job_state, checkpoint_reached",
    ),
    "an unknown state": (
        """
        study: s
        stages:
          train: {command: [train]}
          report:
            start: {job_state: {stage: train, state: done}}  # HERE
            command: [report]
        """,
        "stages.report.start: job_state: 'done' is no state",
        "for the job report",
        "use one of waiting, held",
    ),
    "an iteration that is no number": (
        """
        study: s
        stages:
          train: {command: [train]}
          report:
            start: {checkpoint_reached: {stage: train, iteration: "${calc:'10 / 4'}"}}  # HERE
            command: [report]
        """,
        "stages.report.start: checkpoint_reached: 2.5 is no iteration",
        "it is a number with a point for the job report",
        "give iteration a whole one: int(...), or // for /",
    ),
    "a name with where it is defined": (
        """
        study: s
        params: {steps: 3}
        sweep: {params: {seed: [1, 2]}}
        stages:
          train:
            command: [train, "${params.steps}", "${seed}"]  # HERE
        """,
        "stages.train.command.1: ${params} is not defined",
        "no axis, param or built-in",
        "names stand for themselves, wherever they are defined: ${NAME}, not ${params.NAME}",
    ),
    "a name in other letters": (
        """
        study: s
        params: {lr: 3}
        stages:
          train:
            command: [train, "${LR}"]  # HERE
        """,
        "stages.train.command.1: ${LR} is not defined",
        "no axis, param or built-in",
        "did you mean lr?",
    ),
    "an older OmegaConf's environment": (
        """
        study: s
        stages:
          train:
            command: [train, "${env:HOME}"]  # HERE
        """,
        "stages.train.command.1: ${env:...} is no resolver here",
        "for the job train",
        "write ${oc.env:NAME}",
    ),
    "a condition on a stage that is not there": (
        """
        study: s
        stages:
          train:
            command: [train]
            start: {job_succeeded: {stage: pretrain}}  # HERE
        """,
        "stages.train.start: there is no stage 'pretrain'; the stages are train",
        "for the job train",
        "did you mean train?",
    ),
    "a need that is not there": (
        """
        study: s
        stages:
          train:
            command: [train]
            needs: [pretrain]  # HERE
        """,
        "stages.train.needs: there is no stage 'pretrain'",
        "for the job train",
        "did you mean train?",
    ),
    "a condition on jobs of which none agrees": (
        """
        study: s
        stages:
          train: {sweep: {params: {lr: [1, 2]}}, command: [train]}
          report:
            sweep: {params: {lr: [3]}}
            needs: train  # HERE
            command: [report]
        """,
        "stages.report.needs: no job of stage train agrees with it on all shared axes",
        "for the job report-lr3",
        "sweep over the same values in both stages, by the same filter",
    ),
    # Siblings
    "a sibling that is several": (
        """
        study: s
        stages:
          train: {sweep: {params: {lr: [1, 2]}}, command: [train]}
          report: {command: [report, "${sibling.train.dir}"]}  # HERE
        """,
        "stages.report.command.1: ${sibling.train} is the one job of it that agrees on all shared axes; there is",
        "for the job report",
        "let both stages have the same axes, or wait for all of them: needs: ",
    ),
    "a sibling that is none": (
        """
        study: s
        stages:
          train: {sweep: {params: {lr: [1]}}, command: [train]}
          report:
            sweep: {params: {lr: [2]}}
            params:
              where: ${sibling.train.dir}  # HERE
            command: [report, "${where}"]
        """,
        "stages.report.params.where: ${sibling.train} is the one job of it that agrees on all shared axes; there is",
        "for the job report-lr2",
        "sweep over the same values in both stages, by the same filter",
    ),
    "a sibling of a stage that is not there": (
        """
        study: s
        params:
          where: ${sibling.pretrain.dir}  # HERE
        stages: {train: {command: [train]}}
        """,
        "params.where: there is no stage 'pretrain'; the stages are train",
        "for the job train",
        "did you mean train?",
    ),
    "a sibling whose jobs only appear later": (
        """
        study: s
        stages:
          train: {command: [train]}
          score: {each: {checkpoint: train}, command: [score]}
          report: {command: [report, "${sibling.score.dir}"]}  # HERE
        """,
        "stages.report.command.1: ${sibling.score} is one job, and those of score only appear later",
        "for the job report",
        "let this stage appear for them too: each: {job: score}",
    ),
    "stages that wait for each other": (
        """
        study: s
        stages:
          one: {needs: two, command: [one]}
          two: {command: [two, "${sibling.one.dir}"]}  # HERE
        """,
        "stages.two.command.1: stages wait for each other: one -> two -> one",
        "for the job two",
        "remove one of the references",
    ),
    "a stage that waits for itself": (
        """
        study: s
        stages:
          one: {needs: one, command: [one]}  # HERE
        """,
        "stages.one.needs: stages wait for each other: one -> one",
        "for the job one",
        "remove one of the references",
    ),
    "each stages that stand for each other": (
        """
        study: s
        stages:
          one: {each: {job: two}, command: [one]}
          two:
            each: {job: one}  # HERE
            command: [two]
        """,
        "stages.two.each: stages wait for each other: one -> two -> one",
        "for the stage two",
        "remove one of the references",
    ),
    # Plug-ins
    "an unknown backend": (
        """
        study: s
        stages:
          train:
            backend: megatorn  # HERE
        """,
        "stages.train.backend: unknown backend 'megatorn'",
        "autoexp/backends/ holds command, huggingface, megatron",
        "correct the name, or add autoexp/backends/megatorn.py",
    ),
    "a backend without a program": (
        """
        study: s
        stages:
          train:
            backend: command  # HERE
        """,
        "stages.train.backend: backend command starts a program, and there is none",
        "no param called program",
        "add params: {program: PATH}",
    ),
    "an unknown hook": (
        """
        study: s
        stages:
          train:
            hook: megatron_to_fh  # HERE
        """,
        "stages.train.hook: unknown hook 'megatron_to_fh'",
        "there are cooldown_symlink, convert_eval, megatron_to_hf",
        "correct the name",
    ),
    "an unknown hook before the submission": (
        """
        study: s
        stages:
          train:
            command: [train]
            prepare: {link: {}}  # HERE
        """,
        "stages.train.prepare: unknown hook 'link'",
        "there are",
        "correct the name",
    ),
    "an unknown gate": (
        """
        study: s
        stages:
          train:
            command: [train]
            gate: nccl  # HERE
        """,
        "stages.train.gate: unknown hook 'nccl'",
        "there are",
        "correct the name",
    ),
    # Sweeps
    "a name defined twice by two groups": (
        """
        study: s
        sweep:  # HERE
          groups:
            - params: {lr: [1]}
            - configs: {model: [{a: {lr: 2}}]}
        stages: {train: {command: [train]}}
        """,
        "sweep: the name 'lr' is defined twice on one level",
        "the sweep cannot be expanded",
        "rename or remove one of them",
    ),
    "a name defined by the study's sweep and the stage's": (
        """
        study: s
        sweep: {params: {lr: [1]}}
        stages:
          train:
            sweep: {params: {lr: [2]}}  # HERE
            command: [train]
        """,
        "stages.train.sweep: 'lr' is defined by the study's sweep, and again by the stage's",
        "the sweep cannot be expanded",
        "give it another name here, or leave the study's out: axes: [those that stay]",
    ),
    "an empty axis": (
        """
        study: s
        sweep:
          params:
            lr: []  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.params.lr: the axis 'lr' has no values",
        "the sweep cannot be expanded",
        "give it at least one, or remove it",
    ),
    "a zip of unequal lengths": (
        """
        study: s
        sweep:
          params: {x: [1]}
          groups:
            - {type: zip, params: {a: [1, 2], b: [1, 2, 3]}}  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.groups.0: axes of unequal length cannot be zipped",
        "the sweep cannot be expanded",
        "give them equally many values: a has 2, b has 3",
    ),
    "a filter that is no boolean": (
        """
        study: s
        sweep:
          params: {lr: [1]}
          filter: "${lr}"  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.filter: the filter's value is 1",
        "the sweep cannot be expanded",
        "write a comparison",
    ),
    "a job that may spend a budget for ever": (
        """
        study: s
        budget: {gpu_hours: 5}
        stages:
          train:
            command: [train]
            resources: {gpus_per_node: 4}  # HERE
        """,
        "stages.train.resources: the job train may use GPUs for ever",
        "the study has a budget of GPU hours",
        "give its resources a walltime, such as 6h",
    ),
    "a filter that drops everything": (
        """
        study: s
        sweep:
          params: {lr: [1]}
          filter: "${calc:'${lr} > 1'}"  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.filter: the filter drops all 1 points",
        "the sweep cannot be expanded",
        "loosen it",
    ),
    "a group's filter that drops everything of a stage": (
        """
        study: s
        stages:
          train: {command: [train]}
          report:
            sweep:
              groups: [{params: {lr: [1]}, filter: false}]  # HERE
            command: [report]
        """,
        "stages.report.sweep.groups.0.filter: the filter drops all 1 points",
        "the sweep cannot be expanded",
        "loosen it",
    ),
    "an unknown key of a sweep": (
        """
        study: s
        sweep:
          grid: {lr: [1]}  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.grid: a sweep has no 'grid'",
        "the sweep cannot be expanded",
        "use one of type, params, configs, groups",
    ),
    "a requirement that is not met": (
        """
        study: s
        sweep:
          params: {lr: [1, 9]}
          require: "${calc:'${lr} < 5'}"  # HERE
        stages: {train: {command: [train]}}
        """,
        "sweep.require: the point {'lr': 9} is not what the sweep requires",
        "the sweep cannot be expanded",
        "change its values, or drop it by a filter",
    ),
    # Ids
    "two jobs with one id": (
        """
        study: s
        sweep: {params: {path: [a/b, a_b]}}
        stages:
          train:  # HERE
            command: [train]
        """,
        "stages.train: two jobs have the id train-patha_b",
        "one is {'path': 'a/b'}, the other {'path': 'a_b'}",
        "remove the duplicate, or give the sweep an axis",
    ),
    "an id that is too long": (
        f"""
        study: s
        sweep: {{params: {{path: [{"x" * 200}]}}}}
        stages:
          train:  # HERE
            command: [train]
        """,
        f"stages.train: the id train-path{'x' * 170}... is too long",
        "it names files, and 210 characters are more than 180",
        "shorten the stage's or the axes' names, or use named entries",
    ),
    # Scripts
    "a value inside quotes": (
        """
        study: s
        params: {x: 1}
        stages:
          train:
            command: 'echo "${x}"'  # HERE
        """,
        "stages.train.command: ${...} stands inside quotes",
        "for the job train",
        "leave it outside: each value is one quoted word already",
    ),
    "a value inside a here-document": (
        """
        study: s
        params: {x: 1}
        stages:
          train:
            command: |  # HERE
              cat <<EOF
              ${x}
              EOF
        """,
        "stages.train.command: a script with a here-document takes no ${...}",
        "for the job train",
        "pass the value by env: and use $NAME",
    ),
    "a value inside backticks": (
        """
        study: s
        params: {x: 1}
        stages:
          train:
            command: echo `echo ${x}`  # HERE
        """,
        "stages.train.command: ${...} stands inside backticks",
        "for the job train",
        "leave it outside: each value is one quoted word already",
    ),
    "a value inside arithmetic": (
        """
        study: s
        params: {x: 1}
        stages:
          train:
            command: echo $((1 + ${x}))  # HERE
        """,
        "stages.train.command: ${...} stands inside arithmetic",
        "for the job train",
        "leave it outside: each value is one quoted word already",
    ),
    "a value inside a comment": (
        """
        study: s
        params: {x: 1}
        stages:
          train:
            command: |  # HERE
              # for ${x}
              echo
        """,
        "stages.train.command: ${...} stands inside a comment",
        "for the job train",
        "leave it outside: each value is one quoted word already",
    ),
}


@pytest.mark.parametrize(("text", "what", "why", "fix"), ERRORS.values(), ids=ERRORS)
def test_an_error_names_file_line_and_key_the_reason_and_the_fix(
    planner: Plans, text: str, what: str, why: str, fix: str
) -> None:
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# HERE"))

    with pytest.raises(RecipeError) as caught:
        planner(text).plan()

    error = caught.value
    where, _, message = error.what.partition(": ")
    assert where.endswith(f"recipe.yaml:{line}"), error
    assert message.startswith(what)
    assert why in error.why
    assert error.fix.startswith(fix)
