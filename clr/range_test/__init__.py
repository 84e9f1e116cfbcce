"""The LR range test for any model: raise the rate, watch accuracy, read both bounds (CLR 3.3).

    test = lr_range_test(model, loader, loss=cross_entropy, optimizer=sgd)  # 300 steps
    print(test.bounds())  # base_lr and max_lr of cycles, and the peak of a schedule that falls

Afterwards the model, the optimizer and the random states are as they were before.
"""

from clr.range_test.bounds import METHODS, Bounds
from clr.range_test.ramp import COLUMNS, accuracy
from clr.range_test.restore import restored
from clr.range_test.run import RangeTest, lr_range_test

__all__ = [
    "COLUMNS",
    "METHODS",
    "Bounds",
    "RangeTest",
    "accuracy",
    "lr_range_test",
    "restored",
]
