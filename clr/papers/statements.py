"""The statements of the papers that an experiment here tests, in one sentence each.

A claim of an experiment names the statement that it tests, and tables show its sentence.
Several protocols can test one statement: the papers' own, and shortened ones of ours.
"""

THIRD = "Cycles reach the accuracy of the fixed rate in about a third of the iterations"
AS_LONG = "In equally many iterations, cycles are better than the fixed rate"
DECAY = "triangular2 is better than decay, which falls once and then stays constant"
EXP_RANGE = "exp_range is better than the fixed rate"
EXP_RANGE_EXP = "exp_range is better than exp"
WAVE = "The shape of the wave makes no difference"
STOP = "A run should stop at the end of a cycle"
STEPSIZE = "A stepsize of 2 to 10 epochs is a good one, and its exact value matters little"
SOLVERS_AS_LONG = "With other solvers, too, cycles are better in equally many iterations"
SOLVERS = "With Nesterov, AdaGrad and AdaDelta, too, a third of the iterations is enough"
ADAPTIVE = "With Adam and RMSprop, a third of the iterations is not enough; equally many are"
ADAGRAD = "With AdaGrad, cycles are better than the fixed rate"
SIGMOIDS = "Cycles help a network with sigmoids and batch normalisation"
SIGMOIDS_AS_PUBLISHED = "With it, cycles and the fixed rate reach the accuracies of Fig. 6"
SUPER = "One large cycle beats a step schedule that is eight times as long"
FEWER_IMAGES = "With fewer images, the advantage of the large cycle grows"
DEPTH = "The large cycle is better for other depths, too"
MNIST = "On MNIST, 1cycle is better than the usual schedule, in fewer epochs"
