"""moto's server, with what templates of ours need and moto lacks (moto-ext 5.1.54, moto 5.2.5).

    .venv/bin/python localstack/moto_server.py -H 127.0.0.1 -p PORT        # options as those of `python -m moto.server`

Added, as AWS's guides have it:

- `Fn::GetAtt: [STACK, Outputs.NAME]` of a nested stack;
- the VPCs of a stack's private hosted zone, and the dot at the end of its name, without which its records are not found;
- values of records without CDATA, in which AWS's SDK for Rust sees nothing, and the name of an answer (both moto-ext).

It still lacks, and this leaves it so: dynamic references, tags aws:cloudformation:*, metadata options, role and lifecycle
hooks of an Auto Scaling group's instances, and signals, which nothing waits for. In policies it leaves a null for what
`AWS::NoValue` takes away.
"""

from moto.cloudformation.models import Stack
from moto.route53 import responses
from moto.route53.models import FakeZone
from moto.server import main


def get_output(stack, attribute):
    return stack.output_map[attribute.removeprefix("Outputs.")].value


make_zone = FakeZone.create_from_cloudformation_json


def make_private_zone(resource_name, cloudformation_json, *arguments, **more):
    zone = make_zone(f"{resource_name.rstrip('.')}.", cloudformation_json, *arguments, **more)
    for vpc in cloudformation_json["Properties"].get("VPCs", []):
        zone.private_zone = True
        zone.add_vpc(vpc["VPCId"], vpc["VPCRegion"])
    return zone


Stack.get_cfn_attribute = get_output
FakeZone.create_from_cloudformation_json = make_private_zone
for name, text in list(vars(responses).items()):
    if isinstance(text, str):
        text = text.replace("<![CDATA[{{ resource }}]]>", "{{ resource | e }}")
        setattr(responses, name, text.replace("ListHostedZonesByVpcResponse", "ListHostedZonesByVPCResponse"))

if __name__ == "__main__":
    main()
