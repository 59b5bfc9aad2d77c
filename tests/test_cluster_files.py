"""The files in `cluster/` are what the programs that read them accept, and every command in them is one that exists."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml
from packaging.version import Version

import tuner
import tuner.cli

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "cluster"
RAY = Path(str(importlib.metadata.distribution("ray").locate_file("ray")))  # found, not imported: 0.6 s

SLURM = {
    "SLURM_SUBMIT_DIR": "/home/me/project",
    "SLURM_JOB_NODELIST": "node[01-02]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_ID": "4711",
    "SLURM_CPUS_PER_TASK": "8",
}


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


def bash_blocks() -> Iterator[list[str]]:
    """The words of every command line in the README's shell blocks."""
    for block in re.findall(r"```bash\n(.*?)```", (CLUSTER / "README.md").read_text(), re.DOTALL):
        yield from map(shlex.split, block.replace("\\\n", " ").splitlines())


def slurm_job(
    tmp_path: Path, variables: dict[str, str], srun: str, *arguments: str, nodes: tuple[str, str] = ("node01", "node02")
) -> subprocess.CompletedProcess[str]:
    """slurm.sh as it runs inside an allocation of two nodes, where the shell line `srun` stands in for the program."""
    for name, body in {"srun": srun, "scontrol": f'printf "{nodes[0]}\\n{nodes[1]}\\n"'}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    environment = (
        SLURM | {"SLURM_SUBMIT_DIR": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"} | variables
    )
    script = ["bash", str(CLUSTER / "slurm.sh"), *arguments]
    return subprocess.run(script, env=environment, capture_output=True, text=True, timeout=500)


def slurm_command(tmp_path: Path, *arguments: str) -> list[str]:
    """What slurm.sh hands to `srun`."""
    ended = slurm_job(tmp_path, {}, f'printf "%s\\n" "$@"; touch {tmp_path}/results/.slurm-4711', *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def tuner_commands(words: list[str]) -> Iterator[list[str]]:
    """The calls of tuner among the words of a command line, quoted ones included."""
    for place, word in enumerate(words):
        if word == "tuner":
            yield words[place + 1 :]
        elif word.startswith("tuner ") and words[0] == "ray":
            yield shlex.split(word)[1:]


def parsed(arguments: list[str]) -> click.Context:
    """The arguments as tuner's own command line reads them; an unknown verb or option raises."""
    group = next(value for value in vars(tuner.cli).values() if isinstance(value, click.Group))
    context = click.Context(group, info_name="tuner")
    _, command, rest = group.resolve_command(context, arguments)
    assert command is not None
    return command.make_context(arguments[0], rest, parent=context)


def every_tuner_command(tmp_path: Path) -> list[list[str]]:
    entrypoint = documents("kuberay_rayjob.yaml")[1]["spec"]["entrypoint"]
    slurm = next(words for words in bash_blocks() if words[0] == "sbatch")
    submitted = slurm_command(tmp_path, *slurm[slurm.index("cluster/slurm.sh") + 1 :])
    lines = [*bash_blocks(), shlex.split(entrypoint), submitted[submitted.index("--") + 1 :]]
    return [command for words in lines for command in tuner_commands(words)]


def test_every_tuner_command_is_one_the_command_line_accepts(tmp_path: Path) -> None:
    commands = every_tuner_command(tmp_path)

    assert {command[0] for command in commands} >= {"sweep", "show", "export"}
    assert sum(command[0] == "sweep" for command in commands) == 4  # one a file
    for command in commands:
        parsed(command)


def test_an_option_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        parsed(["sweep", "tuner.workloads.digits:train", "--no-such-option", "1"])


def test_every_sweep_names_a_function_and_a_space_that_exist_and_joins_the_cluster(tmp_path: Path) -> None:
    for sweep in (command for command in every_tuner_command(tmp_path) if command[0] == "sweep"):
        module, _, function = sweep[1].partition(":")
        if not module.startswith("my_package"):
            assert callable(getattr(importlib.import_module(module), function))
        assert (ROOT / "search_spaces" / f"{sweep[sweep.index('--space') + 1]}.toml").is_file()
        assert sweep[sweep.index("--address") + 1] == "auto"
        assert Path(sweep[sweep.index("--results") + 1]).is_absolute()


def test_aws_follows_the_schema_of_ray_up() -> None:
    (config,) = documents("aws.yaml")
    jsonschema.validate(config, json.loads((RAY / "autoscaler" / "ray-schema.json").read_text()))

    assert config["head_node_type"] in config["available_node_types"]
    assert config["available_node_types"]["worker"]["max_workers"] <= config["max_workers"]


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_ray_up_reads_aws_as_a_cluster(tmp_path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents("aws.yaml")
    validate_config(prepare_config(config))
    with pytest.raises((ValueError, jsonschema.ValidationError)):
        validate_config(prepare_config({**config, "head_node_type": "boss"}))


def follows(schema: str, file: Path) -> subprocess.CompletedProcess[str]:
    """What check-jsonschema says of a file."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    return subprocess.run(check, capture_output=True, text=True, timeout=120)


def test_compose_follows_its_specification(tmp_path: Path) -> None:
    read = follows("vendor.compose-spec", CLUSTER / "compose.yaml")
    assert read.returncode == 0, read.stdout
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text((CLUSTER / "compose.yaml").read_text().replace("healthcheck:", "healthchek:"))
    assert "healthchek" in follows("vendor.compose-spec", misspelt).stdout


def test_aws_mounts_one_folder_on_every_node_before_its_container_starts() -> None:
    (config,) = documents("aws.yaml")

    assert any("exportfs" in command for command in config["initialization_commands"])
    mount = " ".join(config["available_node_types"]["worker"]["initialization_commands"])
    assert "$RAY_HEAD_IP:/shared /shared" in mount
    assert "--volume /shared:/shared" in config["docker"]["run_options"]


def test_the_rayjob_has_what_the_operator_needs() -> None:
    claim, job = documents("kuberay_rayjob.yaml")

    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert Version(cluster["rayVersion"]) >= Version("2.52")  # the first with tokens
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["containers"][0]["volumeMounts"][0]["mountPath"] in job["spec"]["entrypoint"]


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that the operator would make of a RayJob."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [{"apiVersion": "v1", "kind": "Pod", **group["template"]} for group in groups]


def test_kubernetes_takes_the_volume_and_the_pods_of_the_rayjob() -> None:
    claim, job = documents("kuberay_rayjob.yaml")
    newest = kubernetes_validate.latest_version()

    for each in (claim, *pods(job)):
        kubernetes_validate.validate(each, newest, strict=True)
    misspelt = pods(job)[0]
    misspelt["spec"]["contaners"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, newest, strict=True)


# The fields of the RayJob of KubeRay 1.5 and later, as far as one may want them here.
RAYJOB = {
    "spec": "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus "
    "entrypointNumGpus entrypointResources jobId managedBy rayClusterSpec runtimeEnvYAML shutdownAfterJobFinishes "
    "submissionMode submitterConfig submitterPodTemplate suspend ttlSecondsAfterFinished",
    "rayClusterSpec": "authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec "
    "headServiceAnnotations managedBy rayVersion suspend upgradeStrategy workerGroupSpecs",
    "headGroupSpec": "enableIngress headService labels rayStartParams resources serviceType template",
    "workerGroupSpecs": "groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts rayStartParams "
    "replicas resources scaleStrategy suspend template",
    "authOptions": "mode secretName",
}


def test_every_field_of_the_rayjob_is_one_that_the_operator_reads() -> None:
    _, job = documents("kuberay_rayjob.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]

    for word, there in {
        "spec": job["spec"],
        "rayClusterSpec": cluster,
        "headGroupSpec": cluster["headGroupSpec"],
        "workerGroupSpecs": workers,
        "authOptions": cluster["authOptions"],
    }.items():
        assert there.keys() <= set(RAYJOB[word].split()), word
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    started = [cluster["headGroupSpec"]["rayStartParams"], workers["rayStartParams"]]
    assert all(isinstance(value, str) for each in started for value in each.values()), "the operator takes texts alone"


def test_slurm_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sh")], check=True, timeout=120)


def test_slurm_script_without_arguments_says_how_it_is_used() -> None:
    ended = subprocess.run(
        ["bash", str(CLUSTER / "slurm.sh")], env=SLURM | {"PATH": os.environ["PATH"]}, capture_output=True, timeout=120
    )
    assert (ended.returncode, ended.stderr[:6]) == (2, b"usage:")


def test_slurm_script_runs_the_sweep_once_on_a_cluster_of_all_its_nodes(tmp_path: Path) -> None:
    words = slurm_command(tmp_path, "my_package.training:train", "--name", "a night")

    start = words.index("ray")
    assert words[start : start + 2] == ["ray", "symmetric-run"]
    assert words[words.index("--address") + 1] == "node01:24711"
    assert words[words.index("--min-nodes") + 1] == "2"
    assert "a night" in words  # quoting survives


def test_slurm_script_fails_where_no_sweep_began_though_its_tasks_ended_well(tmp_path: Path) -> None:
    ended = slurm_job(tmp_path, {}, "exit 0", "my_package.training:train")

    assert ended.returncode == 1
    assert "no sweep began" in ended.stderr


def test_slurm_script_keeps_the_results_where_it_is_told_and_passes_the_exit_code_on(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "study.db").touch()
    folders = {"TUNER_RESULTS": str(tmp_path / "local"), "TUNER_KEEP": str(tmp_path / "kept")}

    ended = slurm_job(tmp_path, folders, "exit 3", "my_package.training:train")

    assert ended.returncode == 3
    assert (tmp_path / "kept" / "study.db").is_file()


@pytest.mark.thorough
@pytest.mark.ray
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2: two networks")
def test_slurm_script_brings_two_nodes_together_and_sweeps_on_them(tmp_path: Path) -> None:
    """Each node has a network and processes of its own, so that each takes itself for a machine."""
    mark = f"tuner{os.getpid()}"
    nodes = [f"{mark}-{each}" for each in (1, 2)]
    enter = "exec ip netns exec {} unshare --pid --fork --kill-child --mount-proc"
    tasks = "\n".join(f'( {enter.format(node)} "$@" ) & task{n}=$!' for n, node in enumerate(nodes))
    srun = f"while [[ $1 == --* ]]; do shift; done\n{tasks}\nwait $task0; status=$?; wait $task1; exit $status"
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # a socket's path is short
        variables = {
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_CPUS_PER_TASK": "1",
            "RAY_TMPDIR": short,
            "HOME": str(tmp_path),
            "PATH": os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        words = "tuner.workloads.bowl:train --space sgd_momentum --name night --objective score --trials 4 --parallel 2"
        more = "--sampler random --stopping off --no-plot"
        try:
            for line in (
                *(f"netns add {node}" for node in nodes),
                f"link add v1 netns {nodes[0]} type veth peer name v2 netns {nodes[1]}",
                *(f"-n {node} addr add 10.231.7.{n}/24 dev v{n}" for n, node in enumerate(nodes, 1)),
                *(f"-n {node} link set {device} up" for n, node in enumerate(nodes, 1) for device in ("lo", f"v{n}")),
                # Ray sees by the way out which address is its own
                *(f"-n {node} route add default dev v{n}" for n, node in enumerate(nodes, 1)),
            ):
                subprocess.run(["ip", *line.split()], check=True, timeout=60)
            ended = slurm_job(tmp_path, variables, srun, *f"{words} {more}".split(), nodes=("10.231.7.1", "10.231.7.2"))
        finally:
            for node in nodes:
                subprocess.run(["ip", "netns", "del", node], capture_output=True, timeout=60)
    told = (ended.stdout + ended.stderr)[-5000:]
    assert ended.returncode == 0, told
    with tuner.open("night", results=tmp_path / "results") as study:
        assert study.trials["state"].tolist() == ["completed"] * 4


@pytest.mark.ray
def test_ray_accepts_the_options_that_start_each_cluster(tmp_path: Path) -> None:
    from ray.scripts import scripts, symmetric_run

    (compose,), (aws,) = documents("compose.yaml"), documents("aws.yaml")
    from_yaml = [service["command"] for service in compose["services"].values()]
    from_yaml += [*aws["head_start_ray_commands"], *aws["worker_start_ray_commands"]]
    starts = [
        shlex.split(line.replace("${WORKER_CPUS:-1}", "1"))[2:] for line in from_yaml if line.startswith("ray start")
    ]
    words = slurm_command(tmp_path, "my_package.training:train")
    symmetric = words[words.index("symmetric-run") + 1 : words.index("--")]
    starts.append(symmetric_run.curate_and_validate_ray_start_args(symmetric))

    assert len(starts) == 5
    for arguments in starts:
        scripts.start.make_context("start", arguments)


def test_compose_publishes_nothing_and_keeps_its_nodes_on_one_private_network() -> None:
    (compose,) = documents("compose.yaml")

    assert compose["networks"] == {"private": {"internal": True}}
    for service in compose["services"].values():
        assert service["networks"] == ["private"]
        assert "ports" not in service
        assert service["volumes"] == ["results:/shared/results"]


def test_every_cluster_of_more_machines_asks_for_a_token() -> None:
    (compose,), (aws,), (_, job) = map(documents, ("compose.yaml", "aws.yaml", "kuberay_rayjob.yaml"))

    for service in compose["services"].values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
    assert "--env RAY_AUTH_MODE=token" in aws["docker"]["run_options"]
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert "export RAY_AUTH_MODE=token" in (CLUSTER / "slurm.sh").read_text()


def test_all_files_name_the_same_version_of_ray() -> None:
    texts = [(CLUSTER / name).read_text() for name in ("compose.yaml", "aws.yaml", "kuberay_rayjob.yaml")]
    named = [re.findall(r'(?:rayproject/ray:|rayVersion: ")(\d+\.\d+\.\d+)', text) for text in texts]
    assert {version for versions in named for version in versions} == {"2.60.0"}
    assert all(named)


def test_the_readme_names_every_file() -> None:
    readme = (CLUSTER / "README.md").read_text()
    assert not [path.name for path in CLUSTER.iterdir() if path.name not in readme and path.name != "README.md"]
