"""Threads that prepare data beside the computation."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def single_threaded_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Start threads in which torch starts no threads of its own.

    Otherwise torch would use all cores for each copy in each of these threads, and the computation would wait for a
    core. That cost a fifth of the speed of a training on a GPU.

    Args:
        threads: number of threads.
        name: prefix of their names.
    """
    limit = torch.get_num_threads()
    started = threading.Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_stay_single)
    try:
        for _ in range(threads):
            pool.submit(started.wait)
        started.wait()
    except BaseException:
        started.abort()  # or the threads that did start would wait for the others for ever
        raise
    torch.set_num_threads(limit)  # each thread keeps its own number, but new threads begin with the latest
    return pool


def _stay_single() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # the first call in a thread fixes its number
