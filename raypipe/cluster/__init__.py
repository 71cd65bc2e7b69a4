"""How raypipe uses Ray. Ray reads these variables when it is imported, so they are set before."""

import os
import sys

if "ray" not in sys.modules:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    # the default of two seconds would delay the end of every short training
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")
