"""What compiled code needs beside arithmetic: C functions by address, and numbers that several threads change.

The address of a C function is an argument, as another process, which may load this code from the cache, has it
elsewhere. A pointer is passed as a whole number of its size.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = [
    "add",
    "address_of",
    "call",
    "call_for_number",
    "call_phase",
    "call_with_int",
    "gemm",
    "numbers",
    "pause",
    "read",
    "replace",
]

_NUMBER = ir.IntType(64)


def _call(builder, address, result, arguments):
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.inttoptr(address, function.as_pointer()), arguments)


def _caller(result, llvm_result):
    """Return a function that calls a C function with this result; its arguments are a tuple of whole numbers."""

    @intrinsic
    def call(typingctx, address, arguments):
        def codegen(context, builder, signature, args):
            values = [builder.extract_value(args[1], i) for i in range(signature.args[1].count)]
            value = _call(builder, args[0], llvm_result, values)
            return context.get_dummy_value() if result == types.void else value

        return result(types.int64, types.UniTuple(types.int64, arguments.count)), codegen

    return call


call = _caller(types.void, ir.VoidType())
call_for_number = _caller(types.float64, ir.DoubleType())


@intrinsic
def call_phase(typingctx, address, part, job, one):
    """Call a function that does a part of a phase."""

    def codegen(context, builder, signature, args):
        _call(builder, args[0], ir.VoidType(), list(args[1:]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, one), codegen


@intrinsic
def address_of(typingctx, record):
    """Return the address of a record."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], _NUMBER)

    return types.int64(record), codegen


@intrinsic
def call_with_int(typingctx, address, argument):
    """Call an ``int(int)``."""

    def codegen(context, builder, signature, args):
        return _call(builder, args[0], ir.IntType(32), [builder.trunc(args[1], ir.IntType(32))])

    return types.int32(types.int64, types.int64), codegen


@intrinsic
def numbers(typingctx, address, like):
    """Return a pointer to numbers of the type of ``like``; it is indexed as an array is, without any check."""
    pointer = types.CPointer(like)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, like), codegen


@intrinsic
def _gemm(typingctx, function, transposed, shape, scales, places):
    """Call BLAS's gemm, which takes all its arguments by address."""

    def codegen(context, builder, signature, args):
        address, transposed, shape, scales, places = args
        char, integer, pointer = ir.IntType(8), ir.IntType(32), ir.IntType(8).as_pointer()

        def on_stack(value):
            with builder.goto_entry_block():
                place = builder.alloca(value.type)
            builder.store(value, place)
            return builder.bitcast(place, pointer)

        def letter(i):
            yes, no = ir.Constant(char, 84), ir.Constant(char, 78)  # T and N
            return on_stack(builder.select(builder.trunc(builder.extract_value(transposed, i), ir.IntType(1)), yes, no))

        def whole(values, i):
            return on_stack(builder.trunc(builder.extract_value(values, i), integer))

        def matrix(i):
            return builder.inttoptr(builder.extract_value(places, i), pointer)

        of_product, of_sum = (on_stack(builder.extract_value(scales, i)) for i in range(2))
        arguments = [letter(0), letter(1), whole(shape, 0), whole(shape, 1), whole(shape, 2), of_product]
        arguments += [matrix(0), whole(places, 1), matrix(2), whole(places, 3), of_sum]
        arguments += [matrix(4), whole(places, 5)]
        _call(builder, address, ir.VoidType(), arguments)
        return context.get_dummy_value()

    result = types.void(
        types.int64,
        types.UniTuple(types.int64, 2),
        types.UniTuple(types.int64, 3),
        scales,
        types.UniTuple(types.int64, 6),
    )
    return result, codegen


@njit(error_model="numpy")
def gemm(function, transposed, shape, scales, a, lda, b, ldb, c, ldc):
    """``c = scales[0] * op(a) @ op(b) + scales[1] * c`` for matrices in Fortran order.

    Parameters
    ----------
    function : int
        Address of sgemm or dgemm.
    transposed : tuple of two int
        1 where ``op`` is the transposed matrix.
    shape : tuple of three int
        Rows and columns of ``c``, and what is summed over.
    scales : tuple of two float of the matrices' dtype
    a, b, c : int
        Addresses.
    lda, ldb, ldc : int
        From the beginning of one column to that of the next.
    """
    _gemm(function, transposed, shape, scales, (a, lda, b, ldb, c, ldc))


# Numbers that several threads change ----------------------------------------------------------------------------------


def _item(builder, address, index):
    """Return a pointer to a whole number of 64 bits."""
    return builder.gep(builder.inttoptr(address, _NUMBER.as_pointer()), [index])


@intrinsic
def add(typingctx, address, index, value):
    """Add to a number, and return what it was before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", _item(builder, args[0], args[1]), args[2], "seq_cst")

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def read(typingctx, address, index):
    """Return a number as it is now."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_item(builder, args[0], args[1]), "seq_cst", 8)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def replace(typingctx, address, index, old, new):
    """Replace a number if it is ``old``; return whether it was."""

    def codegen(context, builder, signature, args):
        item = _item(builder, args[0], args[1])
        return builder.extract_value(builder.cmpxchg(item, args[2], args[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.int64, types.int64, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the processor that this thread waits in a loop."""

    def codegen(context, builder, signature, args):
        if platform.machine() in ("x86_64", "AMD64"):
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), function), [])
        return context.get_dummy_value()

    return types.void(), codegen
