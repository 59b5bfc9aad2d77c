#!/bin/bash
# A sweep inside one Slurm allocation: sbatch [--nodes=N] cluster/slurm.sh package.module:train --space … --name … [more of tuner sweep]
# One task a node: `ray symmetric-run` makes the first node the head, joins the others to it, runs the sweep on the head, and stops all.

#SBATCH --job-name=tuner
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
# With GPUs: #SBATCH --gpus-per-task=4, and --gpus 1 among the arguments for tuner.

set -euo pipefail

if (($# == 0)); then
    echo "usage: sbatch cluster/slurm.sh package.module:train --space SPACE --name NAME [more of tuner sweep]" >&2
    exit 2
fi

# Shared by all nodes, and no NFS or Lustre for the node that coordinates: see README.md.
results=${TUNER_RESULTS:-$SLURM_SUBMIT_DIR/results}

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 20000)) # two jobs that share a node must not meet

# Who can talk to Ray can run code as you: a token that only this job knows (srun hands it to all nodes).
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds; a cold parallel filesystem imports Python slowly

# Where Ray does not start, `ray symmetric-run` ends well all the same: that a sweep began, only the sweep can tell.
mkdir -p "$results"
began=$results/.slurm-$SLURM_JOB_ID

# CPUs twice: srun does not take them over from sbatch, and Ray would count all that the node has.
status=0
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray symmetric-run --address "${nodes[0]}:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_PER_TASK" -- \
    bash -c 'touch "$1" && shift && exec "$@"' sweep "$began" \
    tuner sweep "$@" --no-json --address auto --results "$results" || status=$?
if [[ ! -e $began ]]; then
    echo "no sweep began: no Ray cluster came together on $SLURM_JOB_NODELIST, see above" >&2
    ((status)) || status=1
fi
rm -f "$began"

# The sweep has ended, so its database is at rest and may be copied as a file.
if [[ -n ${TUNER_KEEP:-} ]]; then
    mkdir -p "$TUNER_KEEP" && cp -r "$results/." "$TUNER_KEEP/"
fi
exit "$status"
