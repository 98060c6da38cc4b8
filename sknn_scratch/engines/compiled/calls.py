"""Memory and C functions by address, and numbers that several threads change.

The address of a C function is an argument, as another process, which may load this code from the cache, has it
elsewhere.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# How a function is compiled that only compiled code calls: without what Python and C would call it by.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
helper = njit(**OPTIONS)

_NUMBER = ir.IntType(64)


def at(result: Any) -> Any:
    """Return a function that makes of an address a pointer to numbers, or a record.

    A pointer is indexed as an array is, without any check.
    """

    @intrinsic
    def cast(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(result))

        return result(types.int64), codegen

    return cast


int64s, int32s, uint8s = (at(types.CPointer(kind)) for kind in (types.int64, types.int32, types.uint8))
float64s = at(types.CPointer(types.float64))


@intrinsic
def reals(typingctx, job, address):
    """Return a pointer to numbers of the dtype of the network."""
    pointer = types.CPointer(job.typeof("one"))

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(pointer))

    return pointer(job, types.int64), codegen


# C functions ----------------------------------------------------------------------------------------------------------


def _call(builder, address, arguments):
    function = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(builder.inttoptr(address, function.as_pointer()), arguments)


@intrinsic
def call(typingctx, address, arguments):
    """Call a C function; its arguments are a tuple of whole numbers."""

    def codegen(context, builder, signature, args):
        _call(builder, args[0], [builder.extract_value(args[1], i) for i in range(arguments.count)])
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, arguments.count)), codegen


@intrinsic
def _call_by_reference(typingctx, address, arguments):
    """Call a Fortran function, which takes its arguments by address; those of 64 bits are addresses already."""

    def codegen(context, builder, signature, args):
        places = []
        for i, kind in enumerate(arguments):
            value = builder.extract_value(args[1], i)
            if kind != types.int64:
                with builder.goto_entry_block():
                    place = builder.alloca(value.type)
                builder.store(value, place)
                value = builder.ptrtoint(place, _NUMBER)
            places.append(value)
        _call(builder, args[0], places)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), codegen


# What ``gemm`` does with a matrix: take it as it is, or transposed.
PLAIN, TRANSPOSED = np.uint8(ord("N")), np.uint8(ord("T"))


@helper
def gemm(job, forms, shape, scales, a, lda, b, ldb, c, ldc):
    """``c = scales[0] * form(a) @ form(b) + scales[1] * c`` for matrices in Fortran order, given by address.

    ``forms`` are PLAIN or TRANSPOSED; ``shape`` has the rows and columns of ``c`` and what is summed over; ``lda``, ...
    lead from one column to the next.
    """
    real, sizes = type(job.one), (np.int32(shape[0]), np.int32(shape[1]), np.int32(shape[2]))
    matrices = real(scales[0]), a, np.int32(lda), b, np.int32(ldb), real(scales[1]), c, np.int32(ldc)
    _call_by_reference(job.team.gemm, (forms[0], forms[1], *sizes, *matrices))


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
