"""`tce_core.threads`: torch starts no threads in the pool, and as many as before elsewhere."""

import threading

import pytest
import torch

from tce_core.threads import single_threaded_pool


@pytest.mark.parametrize("threads", [1, 3])
def test_torch_has_one_thread_in_the_pool_and_as_many_as_before_elsewhere(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    pool = single_threaded_pool(threads, "test")
    try:
        together = threading.Barrier(threads)  # every thread of the pool answers

        def number():
            together.wait()
            return torch.get_num_threads()

        assert [task.result() for task in [pool.submit(number) for _ in range(threads)]] == [1] * threads
        assert torch.get_num_threads() == 2
        late = []
        thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert late == [2]
    finally:
        pool.shutdown()
        torch.set_num_threads(before)
