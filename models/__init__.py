import triage_node as triage_node  # its first lines keep onnxruntime from calling its maker
