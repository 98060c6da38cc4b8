"""Every tuned number of the engines, with what was measured.

Multiplications are those of the matrix products in the forward pass. Measured on two cores of an AMD EPYC unless said.
"""

from __future__ import annotations

# Threads --------------------------------------------------------------------------------------------------------------

# Multiplications of a product up to which OpenBLAS uses one thread anyway, and numbers of a vector, or of a matrix that
# is multiplied by one.
SINGLE_THREADED_ANYWAY, LONG_VECTOR = 2**18, 2**13
# Multiplications of a step's largest product up to which BLAS is held to one thread: its own would take off a tenth to
# a third of the step, and a busy neighbour makes theirs five to twenty times slower. Two threads of ours that share the
# rows of each step gain nothing up to here.
SMALL = 2**23
# Threads up to which ours share the rows of a larger step; more cores are left to BLAS. And rows of a minibatch for
# each, as products of fewer are inefficient.
MOST_HELPED, MIN_SHARE = 4, 32
# Multiplications of a prediction (half a millisecond) from which ours share its rows. BLAS's own would take off as
# much, but a busy neighbour makes theirs a hundred times slower.
WORTH_THREADS = 2**23
# Multiplications that take as long as to call another thread and to hear from it, some 35 microseconds.
TO_CALL = 2**20

# Prediction -----------------------------------------------------------------------------------------------------------

# Up to twice CHUNK_SIZE numbers in the widest layer, or twice FEW_ROWS rows, pass at once, and threads share each large
# layer: its columns, so that BLAS copies each weight once (if they shared the rows, each would copy all: 50 rows of
# 1000-2048-10 take 0.75 times as long, 200 rows 0.95), or where there are more of them its rows: 1,000 rows of
# 64-100-10 take 0.8 times as long as by one thread (in chunks two threads, which meet at Python's lock, gain nothing).
# More pass in chunks of half of that, which stay in the cache.
# Up to FEW_ROWS, layers of float64 are written column by column, for which BLAS copies the weights faster: 8 rows take
# 0.6 times as long, 64 rows 0.85, 200 rows 0.97, 512 as long.
CHUNK_SIZE, FEW_ROWS = 2**17, 256
# Rows or columns of a layer that a thread takes at least.
SHORTEST_PART = 64
# Multiplications that take as long as to add a bias to a number and to activate it.
PER_NUMBER = 24
# Fixed cost of multiplying rows by a weight matrix, for which BLAS copies it, as a number of rows that take as long.
ROWS_TO_PREPARE = 8
# Up to so many rows, each for itself is faster, as BLAS then copies nothing: two rows take half the time. A thread gets
# as many at least.
FEWEST_ROWS = 3
# Up to so many rows, and up to so many multiplications, BLAS's own threads predict: one row of 100-1024-1024-1024-10,
# which waits for the weights, takes 0.55 to 0.75 times as long as with one thread, 16 rows 0.9 times as long as with
# threads of ours, 200 rows of 64-100-10 0.8 times.
ROWS_LEFT_TO_BLAS, WORK_LEFT_TO_BLAS = 32, 2**25
# But more than FEWEST_ROWS only in a stream of so many such predictions, each so many seconds after another. BLAS's
# threads spin for a tenth of a second and then sleep. In a virtual machine a product of matrices, in which they wait
# for each other, then takes 12 milliseconds every other time; one with a vector 0.6 to 0.9 times as long as by one
# thread.
LONG_STREAM, AWAKE_SECONDS = 20, 0.05
# Beside a busy neighbour they wait for a core, 4 to 20 milliseconds where one thread takes half of one.
# They have waited where twice in turn they took PATIENCE_SECONDS more than SLOWEST multiplications a second. Then we do
# without them, for FIRST_PAUSE seconds, twice as long each time they wait again, at most LONGEST_PAUSE.
PATIENCE_SECONDS, SLOWEST = 2e-3, 20e9
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

# Which engine ---------------------------------------------------------------------------------------------------------

# Seconds that the compiled engine takes off a step, and off a step for each parameter.
SAVED_PER_STEP, SAVED_PER_PARAMETER = 20e-6, 4e-9
# Seconds that a fit must save to take compiled code that is on disk. Loading it takes half a second once per process,
# but a search makes some fifty fits.
WORTH_LOADING = 0.01
# Seconds to compile what a fit needs: 4.7 with the import of numba, and some reserve for slower machines; and those for
# a kernel of a component if nothing else is missing, 0.15 to 0.43.
COMPILE_SECONDS, COMPILE_SECONDS_OF_KERNEL = 8.0, 0.5

# The compiled engine --------------------------------------------------------------------------------------------------

# Multiplications of a step per part, some 70 microseconds. In each step threads meet twice and read what others wrote:
# 30-100-1 (a fifth more than this) takes 71 microseconds by one thread, and by two 57 or, for seconds on end, 112, as
# is to be expected where their cores have no common cache.
PER_PART = 2**19
# Rows of a minibatch per part. On sixteen cores, 784-256-128-10 with 200 rows gains up to sixteen parts.
ROWS_PER_PART = 12
# Multiplications up to which plain loops beat a call of BLAS, and units of a layer up to which they do for more: with
# 200 samples and 100 units below, ten units take 17 microseconds a step for 36, sixteen 25 for 44, 32 take 70 for 75.
# Where threads share the rows, which then begin anywhere in a cache line, ten units take longer by loops: digits 106
# microseconds a step for 96; one unit still takes less (30-100-1).
TINY, NARROW, NARROW_IF_SHARED = 2**12, 16, 4
# Multiplications after which compiled code returns, a twentieth of a second or so, for Ctrl-C to be heard.
MOST_AT_ONCE = 2**29
# The other threads start before the epoch that makes it so many multiplications in all, some milliseconds of work: to
# call them for less, as a loop over partial_fit would do each time, takes longer than they save.
WORTH_STARTING = 2**25
# Polls (about 50 ns each) before a wait counts as long: longer than it takes from one epoch to the next, and than a
# phase, of whose multiplications there are so many to a poll.
PATIENCE, PER_POLL = 5000, 400

# The engine on a GPU (figures are of a step written by hand, on an H200) ----------------------------------------------

# Steps of the longest graph. To record one takes 0.2 to 0.5 ms a step, once; to replay it 10 microseconds.
STEPS_AT_ONCE = 64
# Share of the free memory that may be used, as what libraries take and what is lost between blocks is not known.
DEVICE_MEMORY_SHARE = 0.9
# Bytes of a piece, with what is drawn for it, of whose minibatches the steps are made at once, and of what is copied to
# the device at once.
PIECE_BYTES, UPLOAD_BYTES = 2**28, 2**26
# Rows that pass at once where the gradient is that of all samples.
GRADIENT_ROWS = 2**16
# Multiplications of a prediction from which it is worth a GPU, and bytes of its chunks in the widest layer.
WORTH_A_DEVICE, DEVICE_CHUNK_BYTES = 2**30, 2**26


def parts(batch_size: int, n_weights: int, n_threads: int) -> int:
    """Return into how many parts the steps of a job are cut."""
    return max(1, min(n_threads, batch_size // ROWS_PER_PART, batch_size * n_weights // PER_PART))
