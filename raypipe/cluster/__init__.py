"""Everything that touches a cluster. Ray reads these variables when it is imported, so they are set before, or not at all."""

import os
import sys

if "ray" not in sys.modules:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault(
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25"
    )  # a fit of seconds should not wait two for its end
