#!/bin/bash
# Trains with two processes on this machine, started by torchrun. Arguments are passed to `mipi train`:
#   examples/torchrun.sh experiment=quickstart algorithm=mipi debug=tiny
# With PROCESSES=4, in four; one process uses one GPU, if there are GPUs. To resume a run:
#   examples/torchrun.sh resume outputs/latest
# For several machines, run the script on each, with NODES (number of machines), NODE (0, 1, ..) and HEAD (address of
# machine 0) set.
set -euo pipefail
PROCESSES=${PROCESSES:-2}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ "${NODES:-1}" -gt 1 ]; then
    MEET=(--nnodes "$NODES" --node-rank "$NODE" --master-addr "$HEAD" --master-port "${PORT:-29500}")
else
    MEET=(--standalone)
fi
if [ "${1:-}" = resume ]; then
    COMMAND=("$@")
else
    COMMAND=(train "trainer.devices=$PROCESSES" "trainer.num_nodes=${NODES:-1}" "$@")
fi
exec python -m torch.distributed.run "${MEET[@]}" --nproc-per-node "$PROCESSES" -m mipi_pl "${COMMAND[@]}"
