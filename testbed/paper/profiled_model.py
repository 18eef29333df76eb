"""A model's profile together with the static split that was published for it, as files of profiles hold them."""

import msgspec

from broker.messages import PlanStage
from testbed.paper.model_profile import ModelProfile


class ProfiledModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`published_split` is () where none is; `remarks` are sentences on what of it could not be taken literally."""

    profile: ModelProfile
    published_split: tuple[PlanStage, ...] = ()
    remarks: tuple[str, ...] = ()
