"""What to do about the failures that everybody has: a hint from a stage's last lines."""

import re

HINTS = (
    (
        r"out of memory|OutOfMemoryError|allocate memory|MemoryError|SIGKILL|exited with (137|-9)\b",
        "out of memory: `python -m synthalign plan --memory --card 24GB`, with the size of yours, says what to write "
        "into hardware.yaml (`device_rows`), which changes no method; or run fewer at once (`make repro JOBS=1`, "
        "in the flow `parallel` and `gpu_tasks`); what was finished is kept",
    ),
    (
        r"No space left on device|disk is full|Disk quota exceeded",
        "the disk is full: free some space (.work/claims, old folders of published/; once no run is at work, `dvc gc "
        "--all-commits`, which keeps what the history of git and dvc.lock name) and run it again; what was finished is "
        "kept",
    ),
    (
        r"\b(loss|norm|scores?|grad\w*)\b.*\b(nan|inf)\b",
        "a number became NaN: lower the learning rate of this stage in params.yaml, and look at the rows it names",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Unable to locate credentials|NoCredentialsError"
        r"|access key ID you provided|request signature we calculated|Access Denied|\bForbidden\b",
        "the object store refuses the credentials: see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws, there",
    ),
    (
        r"Could not connect to the endpoint|EndpointConnectionError|Connect ?Timeout|Read ?Timeout|SlowDown"
        r"|Service ?Unavailable",
        "the object store does not answer: is it up, with space left, and is `endpointurl` of DVC's remote its address "
        "from this node? What was made is kept, and the next run goes on",
    ),
    (
        r"InsufficientStorage|QuotaExceeded|no free volumes|NoSuchBucket|bucket does not exist",
        "the object store takes nothing more, or has no such bucket: free space there, or make it; what was made is "
        "kept, and the next run goes on",
    ),
    (
        r"No module named|is not installed",
        "something is not installed: `pip install -r requirements.lock`, and the extra that the message names",
    ),
    (
        r"params\.yaml: |check_settings: ",
        "a setting is wrong: `python -m stages.check_settings` tells all of them",
    ),
)
"""A pattern of the words of PyTorch, Python, the kernel and the stages, and what to do. The first that fits counts."""

BUSY = re.compile(r"Unable to acquire lock|another DVC process|is busy, it is being blocked by")
"""DVC's words for a lock that another DVC holds."""


def hint(tail: str) -> str | None:
    """What to do about a failure with these last lines; None where nothing is known."""
    return next((words for pattern, words in HINTS if re.search(pattern, tail, re.IGNORECASE)), None)


def is_busy(tail: str) -> bool:
    """Whether a command failed only because another DVC is at work."""
    return BUSY.search(tail) is not None
