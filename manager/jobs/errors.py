"""The errors of the job runners.

JobsError
 +- HandlersMissing    jobs are to be run, but nobody said by whom
 +- RunnerBusy         an inline runner is already running its jobs
 +- QueueUnavailable   the database of the queue cannot be reached or refused the call; nothing was queued
"""


class JobsError(Exception):
    """Stand at the root of all errors of the job runners."""


class HandlersMissing(JobsError):
    """Report that `attach` was not called before the first run."""


class RunnerBusy(JobsError):
    """Report a second run inside the first, which would break the lock of the running job."""


class QueueUnavailable(JobsError):
    """Report that a job could not be queued; a sweep finds its work again."""
