"""How this package runs an ONNX network: onnxruntime on the CPU."""

import onnxruntime


def make_session(model: bytes, num_threads: int | None = 1):
    """An onnxruntime session of a network's file.

    Args:
      model: the file's content.
      num_threads: in one call; None is all cores. Callers that look at many pictures
        at a time have a thread a picture, and need one here.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # public files have unused counters, a warning each
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
