"""Keeps gRPC's core from writing to standard error: import this before anything that imports grpc, which reads its
environment then.

The core's lines are about what callers did wrong, in C++ code that waits for whoever reads them; with GRPC_TRACE they
hold all that callers send, keys included. GRPC_VERBOSITY stays as an operator has set it.
"""

from __future__ import annotations

import os

TRACED = os.environ.pop("GRPC_TRACE", "")  # reported in the log of the server
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
