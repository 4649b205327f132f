"""Learning from labelled images. Needs ``layerscope[train]``; running a model does not."""

import os

# Threads that wait for work sleep instead of spinning: a step of light-n with two threads took
# 4 to 6 s on a machine with other work and takes 0.5 to 0.7 s so. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
