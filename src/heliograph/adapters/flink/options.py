"""What the job is told when it is submitted: by `heliograph flink`, by a container, by the Flink operator."""

import argparse


def words() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="job.py")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--prefix", required=True, help="of topics, groups and of the job's name")
    parser.add_argument("--into", default="", help="prefix of the topics to write, where nobody carries out what is "
                        "said: a job tried beside the one that decides, or on a recorded log")  # fmt: skip
    parser.add_argument("--parallelism", type=int, default=1)
    parser.add_argument("--checkpoint", type=int, default=10_000, help="ms between two")
    parser.add_argument("--mode", choices=("thread", "process"), default="thread")
    parser.add_argument(
        "--no-facts", dest="facts", action="store_false", help="do not write the topics facts and outcomes"
    )
    parser.add_argument("--exactly-once", action="store_true", help="readers of read_committed get what is said at the "
                        "end of its checkpoint, and once: what that costs is in decision 0049")  # fmt: skip
    parser.add_argument("--past-gap", action="store_true", help="go on with the oldest record where those that are "
                        "next are gone, instead of failing: they are lost")  # fmt: skip
    parser.add_argument("--restarts", choices=("exponential-delay", "none"), default="exponential-delay")
    return parser
