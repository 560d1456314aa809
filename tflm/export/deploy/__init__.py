"""`saved_models/NAME/deploy/`: what an operator needs to run an exported model in stock TensorFlow Serving."""

from tflm.export.deploy.write import DEPLOY_FOLDER, write_deployment

__all__ = ["DEPLOY_FOLDER", "write_deployment"]
