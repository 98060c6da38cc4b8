"""What compiled code needs beside arithmetic: calls of C functions, and numbers that several threads change.

The address of a C function is an argument, as another process, which may load this code from the cache, has it
elsewhere.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["add", "apply_ufunc", "call", "copy_numbers", "matmul", "pause", "read", "replace"]

BYTES = ir.IntType(8).as_pointer()


def _call(builder, address, result, arguments):
    """Call the C function at an address."""
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.inttoptr(address, function.as_pointer()), arguments)


def _on_stack(builder, value, type_=None):
    """Return a pointer to a copy of the value."""
    if type_ is not None:
        value = builder.trunc(value, type_)
    pointer = cgutils.alloca_once(builder, value.type)
    builder.store(value, pointer)
    return builder.bitcast(pointer, BYTES)


def _item(context, builder, type_, array, index):
    """Return a pointer to a number of a contiguous array of one dimension."""
    return builder.gep(context.make_array(type_)(context, builder, array).data, [index])


# C functions ----------------------------------------------------------------------------------------------------------


@intrinsic
def call(typingctx, address, argument):
    """Call an ``int(int)``."""

    def codegen(context, builder, signature, args):
        return _call(builder, args[0], ir.IntType(32), [builder.trunc(args[1], ir.IntType(32))])

    return types.int32(types.int64, types.int64), codegen


@intrinsic
def apply_ufunc(typingctx, loop, data, array):
    """Replace the numbers of a contiguous array of one dimension by a function of them, as ``ufunc_loop`` gives it."""

    def codegen(context, builder, signature, args):
        type_ = signature.args[2]
        values = context.make_array(type_)(context, builder, args[2])
        size = builder.extract_value(values.shape, 0)
        step = ir.Constant(size.type, context.get_abi_sizeof(context.get_data_type(type_.dtype)))
        pointer = builder.bitcast(values.data, BYTES)
        pairs = [cgutils.pack_array(builder, [item, item]) for item in (pointer, step)]
        arguments = [_on_stack(builder, value) for value in (pairs[0], size, pairs[1])]
        _call(builder, args[0], ir.VoidType(), [*arguments, builder.inttoptr(args[1], BYTES)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, array), codegen


@intrinsic
def _gemm(typingctx, gemm, transpose_a, transpose_b, n_rows, n_columns, k, one, a, lda, b, ldb, c, ldc):
    """``c = op(a) @ op(b)`` for matrices in Fortran order, given by their addresses; ``one`` has the numbers' type."""

    def codegen(context, builder, signature, args):
        address, transpose_a, transpose_b, n_rows, n_columns, k, one, a, lda, b, ldb, c, ldc = args
        char, integer = ir.IntType(8), ir.IntType(32)

        def number(value):
            return _on_stack(builder, value, integer)

        def matrix(value):
            return builder.inttoptr(value, BYTES)

        arguments = [_on_stack(builder, value, char) for value in (transpose_a, transpose_b)]
        arguments += [number(n_rows), number(n_columns), number(k), _on_stack(builder, one)]
        arguments += [matrix(a), number(lda), matrix(b), number(ldb)]
        arguments += [_on_stack(builder, ir.Constant(one.type, 0.0)), matrix(c), number(ldc)]
        _call(builder, address, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, one, *[types.int64] * 6), codegen


@njit(error_model="numpy")
def matmul(gemm, shape, a, a_width, transpose_a, b, b_width, transpose_b, out):
    """``out = op(a) @ op(b)`` for matrices in C order, of BLAS.

    Parameters
    ----------
    gemm : int
        Address of sgemm or dgemm.
    shape : tuple of int
        Rows and columns of ``out``, and what is summed over.
    a, b, out : ndarray of one dimension
        Begin with the first number of a matrix. ``out`` is contiguous.
    a_width, b_width : int
        From the beginning of one row to that of the next.
    transpose_a, transpose_b : bool
    """
    n_rows, n_columns, k = shape
    yes, no = 84, 78  # T and N
    one = out.dtype.type(1)
    # In Fortran order, which BLAS expects, these are the transposed matrices.
    _gemm(
        gemm, yes if transpose_b else no, yes if transpose_a else no, n_columns, n_rows, k, one,
        b.ctypes.data, b_width, a.ctypes.data, a_width, out.ctypes.data, n_columns,
    )  # fmt: skip


@intrinsic
def copy_numbers(typingctx, source, start, out, n):
    """Copy the first ``n`` numbers at the address ``source + start`` to a contiguous array."""

    def codegen(context, builder, signature, args):
        source, start, out, n = args
        values = context.make_array(signature.args[2])(context, builder, out)
        address = builder.inttoptr(builder.add(source, start), BYTES)
        cgutils.raw_memcpy(builder, values.data, address, n, values.itemsize)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, out, types.int64), codegen


# Numbers that several threads change ----------------------------------------------------------------------------------


@intrinsic
def add(typingctx, array, index, value):
    """Add to a number, and return what it was before."""

    def codegen(context, builder, signature, args):
        item = _item(context, builder, signature.args[0], args[0], args[1])
        return builder.atomic_rmw("add", item, args[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), codegen


@intrinsic
def read(typingctx, array, index):
    """Return a number as it is now."""

    def codegen(context, builder, signature, args):
        item = _item(context, builder, signature.args[0], args[0], args[1])
        return builder.load_atomic(item, "seq_cst", 8)

    return types.int64(array, types.int64), codegen


@intrinsic
def replace(typingctx, array, index, old, new):
    """Replace a number if it is ``old``; return whether it was."""

    def codegen(context, builder, signature, args):
        item = _item(context, builder, signature.args[0], args[0], args[1])
        return builder.extract_value(builder.cmpxchg(item, args[2], args[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(array, types.int64, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the processor that this thread waits in a loop."""

    def codegen(context, builder, signature, args):
        if platform.machine() in ("x86_64", "AMD64"):
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen
