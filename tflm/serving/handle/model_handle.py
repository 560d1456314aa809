"""`tflm.load`: a model, in a folder or behind a server, with a method for each thing that it does."""

from tflm.serving.handle.explaining_methods import ExplainingMethods
from tflm.serving.handle.generative_methods import GenerativeMethods
from tflm.serving.handle.reading_methods import ReadingMethods


class ModelHandle(GenerativeMethods, ReadingMethods, ExplainingMethods):
    """A loaded model. Any number of threads may use it at a time.

        with tflm.load("saved_models/chat") as model:
            model.methods                                   # ('generate', 'stream', 'chat', ...)
            model.generate("Once upon", top_p=0.9)          # a str; of a list a list

    Which methods it has is a matter of its signatures; another method raises `UserError` and names those it has. A list
    may be empty or large: it goes to the model in batches of similar length, and results keep its order.
    """

    def __enter__(self) -> "ModelHandle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ModelHandle({self.path!r})"
