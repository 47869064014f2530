from .load import load_peft
from .lora import delta_state_dict, peft_state_dict, save_peft

__all__ = [
    "delta_state_dict",
    "load_peft",
    "peft_state_dict",
    "save_peft",
]
