"""Test values that a network, a schedule or an augmentation refuses: one line, before a run folder exists."""

import pytest
from conftest import RunTrain


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["scheduler.warm_up=1.5"], "scheduler.warm_up=1.5 is not valid, it should be less than or equal to 1"),
        (["scheduler=cosine", "scheduler.warm_up=-0.1"], "scheduler.warm_up=-0.1 is not valid"),
        (["scheduler=step", "scheduler.factor=0"], "scheduler.factor=0 is not valid, it should be greater than 0"),
        (["scheduler=constant", "+scheduler.factor=0.5"], "there is no key 'scheduler.factor'"),
        (["~scheduler.warm_up"], "scheduler.warm_up is missing."),
        (["loss.label_smoothing=1"], "loss.label_smoothing=1 is not valid, it should be less than 1"),
        (["loss=focal", "loss.gamma=-1"], "loss.gamma=-1 is not valid"),
        (["loss.class_weights=[1,-1]"], "loss.class_weights.1=-1 is not valid"),
        (
            ["loss.class_weights=[1,2]"],
            "loss._target_=training.losses.CrossEntropy fails: weight tensor should be defined",
        ),
        (["loss._target_=torch.nn.NoSuchLoss"], "loss._target_=torch.nn.NoSuchLoss cannot be imported"),
        (["loss._target_=torch.nn.MultiMarginLoss", "+loss.power=2"], "unexpected keyword argument 'power'"),
        (
            ["loss._target_=torch.nn.CrossEntropyLoss", "+loss.reduction=none"],
            "gives a tensor (64,), expected one number",
        ),
        (["loss._target_=torch.nn.MSELoss"], "loss._target_=torch.nn.MSELoss fails: "),
        (
            ["loss=focal", "loss.class_weights=[1,2]"],
            "loss._target_=training.losses.Focal fails: weight tensor should be",
        ),
        (["loss.class_weights=[0,0,0,0,0,0,0,0,0,0]"], "gives nan, expected one number"),
        (["loss=own"], "loss=own needs loss._target_, such as my_losses.Hinge."),
        (["data.augment.shift=1.5"], "data.augment.shift=1.5 is not valid"),
        (["data.augment.shift=29"], "data.augment.shift=29 is not valid, it should be a whole number from 0 to 28."),
        (["data.augment.horizontal_flip=2"], "data.augment.horizontal_flip=2 is not valid"),
        (["+data.augment.flip=1"], "there is no key 'data.augment.flip'"),
        (
            ["model.activation=rleu"],
            "model.activation=rleu is not valid, did you mean 'relu'? Valid: sigmoid, tanh, relu",
        ),
        (["model.pooling=mx"], "model.pooling=mx is not valid, did you mean 'max'? Valid: average, max"),
        (["model.padding=1"], "model.padding=1 is not valid, it should be 0 or 2."),
        (["+model.hidden_size=8"], "there is no key 'model.hidden_size'"),
        (["~model.pooling"], "model.pooling is missing."),
        (["model=nin", "model.batch_norm=yes"], "model.batch_norm=yes is not valid, it should be a valid boolean."),
        (["model=gru", "model.hidden_size=1.5"], "model.hidden_size=1.5 is not valid"),
        (["model=gru", "model.hidden_size=0"], "hidden_size must be at least 1, got 0"),
        (["model=mlp", "model.hidden_sizes=[8,x]"], "model.hidden_sizes.1=x is not valid"),
        (["model=vgg11", "model.dropout=1.5"], "dropout must be at least 0 and below 1, got 1.5"),
        (["image_size=33"], "LeNet reads 28 x 28 or 32 x 32 images, got 33 x 33. Try another image_size"),
        (["model=alexnet", "image_size=23"], "AlexNet reads images with both sides from 24 to 66 pixels, or both at"),
        (["freeze=[c9]"], "freeze: there is no stage 'c9'. Valid: c1, s2, c3,"),
        (["freeze=[c1,c3,c5,f6,output]"], "freeze=c1,c3,c5,f6,output leaves no weights to train."),
        (["model._target_=no_such_module.Tiny"], "model._target_=no_such_module.Tiny cannot be imported: No module"),
        (["model._target_=torch.nn.Linear"], "unexpected keyword argument 'image_size'. Try another"),
    ],
)
def test_invalid_argument_is_refused_before_a_run_folder_exists(
    run_train: RunTrain, overrides: list[str], says: str
) -> None:
    refused = run_train(*overrides)
    assert (refused.status, refused.errors.count("\n")) == (2, 1)
    assert says in refused.errors
    assert not refused.folder.exists()
