"""Messages of hyperparameters."""

from __future__ import annotations

import logging

from google.protobuf import struct_pb2
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

from ...core.tensor import Tensor
from ._convert_np import make_np

logger = logging.getLogger(__name__)
# Classes of values: the field of a message, the type of a parameter. (A bool is an int, and is logged as a number.)
KINDS = (((int, float), "number_value", "DATA_TYPE_FLOAT64"), (str, "string_value", "DATA_TYPE_STRING"),
         (bool, "bool_value", "DATA_TYPE_BOOL"))


def _check(hparam_dict, metric_dict, domains):
    for name, given in (("hparam_dict", hparam_dict), ("metric_dict", metric_dict)):
        if not isinstance(given, dict):
            logger.warning("parameter: %s should be a dictionary, nothing logged.", name)
            raise TypeError(f"parameter: {name} should be a dictionary, nothing logged.")
    if not isinstance(domains, dict):
        raise TypeError("parameter: hparam_domain_discrete should be a dictionary, nothing logged.")
    for k, v in domains.items():
        if k not in hparam_dict or not isinstance(v, list) or not all(isinstance(d, type(hparam_dict[k])) for d in v):
            raise TypeError(f"parameter: hparam_domain_discrete[{k}] should be a list of same type as hparam_dict[{k}].")


def hparams(hparam_dict=None, metric_dict=None, hparam_domain_discrete=None):
    """Three messages: what there is to know of the experiment, its parameters, its end."""
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
    domains = hparam_domain_discrete or {}
    _check(hparam_dict, metric_dict, domains)
    infos, started = [], SessionStartInfo()
    for k, v in hparam_dict.items():
        if v is None:
            continue
        if isinstance(v, Tensor):
            v = make_np(v)[0].item()
        found = next(((field, kind) for classes, field, kind in KINDS if isinstance(v, classes)), None)
        if found is None:
            raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")
        field, kind = found
        setattr(started.hparams[k], field, v)
        domain = struct_pb2.ListValue(values=[struct_pb2.Value(**{field: d}) for d in domains[k]]) if k in domains else None
        infos.append(HParamInfo(name=k, type=DataType.Value(kind), domain_discrete=domain))

    def message(tag, **content):
        data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content).SerializeToString()
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data)
        return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])
    metrics = [MetricInfo(name=MetricName(tag=k)) for k in metric_dict]
    return (message(metadata.EXPERIMENT_TAG, experiment=Experiment(hparam_infos=infos, metric_infos=metrics)),
            message(metadata.SESSION_START_INFO_TAG, session_start_info=started),
            message(metadata.SESSION_END_INFO_TAG, session_end_info=SessionEndInfo(status=Status.Value("STATUS_SUCCESS"))))
