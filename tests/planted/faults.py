"""All planted faults: protocol §2–§11 weakened clause by clause, and what broke the ancestors.

Each is exact text of a file and what stands there instead (`planting.Edit`).
"""

from tests.planted.faults_blocks import BLOCKS
from tests.planted.faults_healed import HEALED
from tests.planted.faults_runs import RUNS
from tests.planted.faults_signing import SIGNING
from tests.planted.faults_slots import SLOTS
from tests.planted.faults_snowball import SNOWBALL
from tests.planted.faults_votes import VOTES
from tests.planted.planting import Fault

FAULTS: tuple[Fault, ...] = (*SNOWBALL, *VOTES, *SIGNING, *SLOTS, *BLOCKS, *HEALED, *RUNS)
