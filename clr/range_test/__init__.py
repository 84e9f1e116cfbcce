"""The LR range test for any model: raise the rate, watch accuracy, read both bounds (CLR 3.3).

    ramp = RangeRamp(0.0, 0.02, iterations=4000)
    test = lr_range_test(model, loader, loss=cross_entropy, optimizer=sgd, policy=ramp)
    test.bounds()  # base_lr and max_lr

Afterwards the model, the optimizer and the random states are as they were before.
"""

from clr.range_test.bounds import METHODS, Bounds
from clr.range_test.restore import restored
from clr.range_test.run import COLUMNS, RangeTest, accuracy, lr_range_test

__all__ = [
    "COLUMNS",
    "METHODS",
    "Bounds",
    "RangeTest",
    "accuracy",
    "lr_range_test",
    "restored",
]
