from .lora import delta_state_dict, peft_state_dict, save_peft

__all__ = [
    "delta_state_dict",
    "peft_state_dict",
    "save_peft",
]
