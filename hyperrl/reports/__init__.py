"""Reports: figures, tables, TensorBoard, and what is written of evaluations and adaptations."""
