#!/usr/bin/env bash
# One sampling stage in N shards as a job array of Slurm, and the stage itself, which merges them, as the job after it:
#
#     accelerate/slurm.sh 8 sample_responses a                          # 8 shards of sample_responses@a
#     SBATCH_PARTITION=gpu accelerate/slurm.sh 8 --gres=gpu:1 --time=2:00:00 sample_responses a
#
# What begins with -- goes to sbatch, for the shards. Run it in a working copy that all nodes see, with the environment that
# the jobs are to have. A shard that fails or is preempted (--requeue) goes on from its journal; what is missing in the end
# the merge makes itself. `accelerate.yaml` is that of one node: a shard is one launch.
set -euo pipefail
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { echo "usage: accelerate/slurm.sh SHARDS [--OPTION=VALUE …] STAGE [MEMBER]" >&2; exit 2; }
shards=$1
shift
options=()
while [[ ${1:-} == --* ]]; do
    options+=("$1")
    shift
done
stage=${1:?"name the stage, as in accelerate/slurm.sh 8 sample_responses a"}
name=$stage${2:+@$2}
# words that a shell cannot take for anything else, since they stand in a script
[[ $name =~ ^[A-Za-z0-9_@.-]+$ ]] || { echo "accelerate/slurm.sh: no stage is called $name" >&2; exit 2; }
mkdir -p logs
array=$(sbatch --parsable --job-name="$name" --array=0-$((shards - 1)) --output="logs/$name.%a.log" "${options[@]}" --wrap \
    "SYNTHALIGN_SHARD=\$SLURM_ARRAY_TASK_ID/$shards exec accelerate-launch --quiet --config_file accelerate.yaml -m stages.$stage ${2:-}")
merge=$(sbatch --parsable --job-name="$name" --dependency="afterany:${array%%;*}" --output="logs/$name.log" --wrap \
    "exec dvc repro --single-item $name")
echo "$name: $shards shards are job ${array%%;*}, the stage itself is ${merge%%;*}; logs/$name*.log"
