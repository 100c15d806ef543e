"""The named bounds of runs on many seeds."""

from typing import Final

SEEDS_MAX: Final = 1_000_000  # of one command
JOBS_MAX: Final = 64  # processes of one command
SEED_WALL_S: Final = 300  # real time of one seed
SOAK_SEED_WALL_S: Final = 900  # the same in a soak, whose machine may have more to do
START_WALL_S: Final = 60  # of a worker process, until it takes a task
KILL_WALL_S: Final = 10  # until a killed process is gone
DEATHS_MAX: Final = 8  # of workers one after the other, without a result between
LINE_EVERY_S: Final = 5  # progress as lines
CURVES_MAX: Final = 512  # seeds whose heights are drawn
COURSES_MAX: Final = 16  # seeds whose nodes are drawn each
TOLD_MAX: Final = 10  # failing seeds that are told at length
SHRUNK_MAX: Final = 3  # failing seeds of one command that are cut down
SHRINK_WALL_S: Final = 900  # of one that is cut down
TRY_WALL_FACTOR: Final = 3  # a try may take so much longer than the run that failed …
TRY_WALL_S: Final = 10  # … and this much beside
SOURCE_BYTES_MAX: Final = 1 << 20  # a scenario or schedule file
GIT_WALL_S: Final = 5
MINUTES: Final = 30  # of a soak that says nothing else
TABLE_WALL_S: Final = 900  # of one row of a table
PROGRAM_LEAST_S: Final = 20  # a program of the tests is not begun with less
PROGRAM_BYTES_MAX: Final = 64 << 20  # of what one says
