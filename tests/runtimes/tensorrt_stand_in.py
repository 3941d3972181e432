"""The part of TensorRT's Python API that the agent uses; an "engine" is run by ONNX Runtime on the host's memory."""

import ctypes
import os
from enum import Enum, IntEnum

import numpy as np
import onnxruntime

__version__ = os.environ["STAND_IN_VERSION"]
TYPED = int(__version__.split(".")[0]) >= 9


class Logger:
    ERROR = 1

    def __init__(self, severity):
        self.severity = severity


class TensorIOMode(Enum):
    INPUT, OUTPUT = 1, 2


class BuilderFlag(IntEnum):
    FP16, INT8 = 0, 2


class NetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH = 0
    if TYPED:
        STRONGLY_TYPED = 1


class Network:
    def get_input(self, number):
        return self.session.get_inputs()[number]


class Profile:
    def set_shape(self, name, least, best, most):
        assert least == best == most
        self.shape = name, best


class Config:
    def __init__(self):
        self.flags, self.profiles = set(), []

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)

    def set_flag(self, flag):
        self.flags.add(BuilderFlag(flag))


class Builder:
    def __init__(self, logger):
        assert isinstance(logger, Logger)

    def create_network(self, flags):
        network = Network()
        network.is_typed = bool(TYPED and flags & 2)
        return network

    create_builder_config = staticmethod(Config)
    create_optimization_profile = staticmethod(Profile)

    def build_serialized_network(self, network, config):
        # What is not strongly typed computes in fp32 unless it may do otherwise.
        assert network.is_typed or config.flags == {BuilderFlag.FP16, BuilderFlag.INT8}
        (profile,) = config.profiles
        name, shape = profile.shape
        assert name == network.get_input(0).name
        return network.session, shape


class OnnxParser:
    def __init__(self, network, logger):
        self.network = network

    def parse(self, data):
        try:
            self.network.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001
            self.error = str(error).splitlines()[0]
            return False
        return True

    def get_error(self, number):
        return self.error


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        return Engine(*plan)


def nptype(kind):
    return kind


class Engine:
    def __init__(self, session, shape):
        self.session, self.shape = session, shape
        (self.given,), (self.asked,) = session.get_inputs(), session.get_outputs()

    def get_tensor_name(self, number):  # the output first, which the API does not forbid
        return (self.asked, self.given)[number].name

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == self.given.name else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        of = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        return of[(self.given if name == self.given.name else self.asked).type]

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.shape = engine, {}, None

    def set_input_shape(self, name, shape):
        assert name == self.engine.given.name and tuple(shape) == tuple(self.engine.shape)
        self.shape = tuple(shape)

    def get_tensor_shape(self, name):
        return (self.shape[0], *self.engine.asked.shape[1:])

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        assert stream
        floats = ctypes.POINTER(ctypes.c_float)
        given = np.ctypeslib.as_array(ctypes.cast(self.addresses[self.engine.given.name], floats), self.shape)
        (answer,) = self.engine.session.run(None, {self.engine.given.name: given})
        target = ctypes.cast(self.addresses[self.engine.asked.name], floats)
        np.ctypeslib.as_array(target, answer.shape)[:] = answer
        return True
