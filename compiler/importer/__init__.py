"""The importer: ONNX to the graph dialect.

    from tilewright.compiler.importer import import_model
    module = import_model("model.onnx", ctx, shapes={"input": (1, 3, 224, 224)})

Opsets 1 to 28.  Shapes are static: symbolic dimensions are bound by `shapes`, else to 1 with a
note.  Weights stay where the protobuf or the file has them; the IR holds keys into `ctx.constants`.
"""

from .model import check_model, import_model, open_dimensions

__all__ = ["check_model", "import_model", "open_dimensions"]
