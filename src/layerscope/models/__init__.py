"""Layer heads trained from labels: the published alternatives to the physics.

`HEADS` maps a name to its class; nothing is imported before it is asked for. A head from another
package registers under the entry-point group ``layerscope.heads``.
"""

from layerscope.registry import Registry

HEADS = Registry(
    "head",
    {
        "gmm": "layerscope.models.gmm:GmmHead",
        "amm": "layerscope.models.amm:AmmHead",
    },
)

__all__ = ["HEADS"]
