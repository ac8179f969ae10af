"""Fills LocalStack (or anything that speaks EC2 and Route 53) with a small fleet, and prints its ids as JSON.

    .venv/bin/python localstack/seed.py [--endpoint http://127.0.0.1:4566] [--network 10.20] [--zone corp.internal]

One VPC of two zones of availability, three DNS servers that carry the tag which tagalong discovers them by, three
clients, and two hosted zones private to the VPC:

    us-east-1a  10.20.1.0/24    dns-a 10.20.1.53   dns-c 10.20.1.54   web-1 10.20.1.11   web-3 10.20.1.13
    us-east-1b  10.20.2.0/24    dns-b 10.20.2.53                      web-2 10.20.2.12
    corp.internal               20.10.in-addr.arpa

--network 127.20 moves all of it to 127.20.0.0/16, where real servers can listen on the machine itself. An address has
to be inside its subnet in LocalStack too, so the network moves as a whole.

What is there already is found by its tags and names, and left alone: a second run changes nothing and prints the same.
"""

import argparse
import ipaddress
import json
from dataclasses import dataclass

import boto3
from botocore.config import Config

REGION = "us-east-1"
TAG = "tagalong:dns-server"


@dataclass(frozen=True)
class Host:
    """An instance: `role` is `dns` or `web`, `at` the last two numbers of its address."""

    name: str
    role: str
    availability_zone: str
    at: str


HOSTS = (
    Host("dns-a", "dns", "us-east-1a", "1.53"),
    Host("dns-b", "dns", "us-east-1b", "2.53"),
    Host("dns-c", "dns", "us-east-1a", "1.54"),
    Host("web-1", "web", "us-east-1a", "1.11"),
    Host("web-2", "web", "us-east-1b", "2.12"),
    Host("web-3", "web", "us-east-1a", "1.13"),
)


@dataclass(frozen=True)
class Fleet:
    network: str = "10.20"
    zone: str = "corp.internal"
    hosts: tuple[Host, ...] = HOSTS

    @property
    def vpc_cidr(self):
        return f"{self.network}.0.0/16"

    @property
    def subnets(self):
        return {"us-east-1a": f"{self.network}.1.0/24", "us-east-1b": f"{self.network}.2.0/24"}

    @property
    def zones(self):
        first, second = self.network.split(".")
        return f"{self.zone}.", f"{second}.{first}.in-addr.arpa."

    def address(self, host):
        return f"{self.network}.{host.at}"

    def tags(self, host):
        return {"Name": host.name, TAG: self.zone} if host.role == "dns" else {"Name": host.name}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", default="http://127.0.0.1:4566")
    parser.add_argument("--network", type=network, default="10.20", help="the first two numbers of every address")
    parser.add_argument("--zone", default="corp.internal")
    options = parser.parse_args()
    fleet = Fleet(network=options.network, zone=options.zone.rstrip("."))
    print(json.dumps(seed(options.endpoint, fleet), indent=2))


def network(text):
    ipaddress.IPv4Network(f"{text}.0.0/16")
    return text


def client(service, endpoint, access_key="test"):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=120),
    )


def seed(endpoint, fleet):
    ec2, route53 = client("ec2", endpoint), client("route53", endpoint)
    vpc = find_or_make_vpc(ec2, fleet)
    subnets = {zone: find_or_make_subnet(ec2, vpc, zone, cidr) for zone, cidr in fleet.subnets.items()}
    hosts = {host.name: find_or_make_host(ec2, fleet, vpc, subnets, host) for host in fleet.hosts}
    zones = {name: find_or_make_zone(route53, vpc, name) for name in fleet.zones}
    return {
        "endpoint": endpoint,
        "region": REGION,
        "vpc_id": vpc,
        "subnets": subnets,
        "instances": hosts,
        "zones": zones,
    }


def find_or_make_vpc(ec2, fleet):
    mark = {"Name": "tag:tagalong:seed", "Values": [fleet.zone]}
    for vpc in ec2.describe_vpcs(Filters=[mark, {"Name": "cidr", "Values": [fleet.vpc_cidr]}])["Vpcs"]:
        return vpc["VpcId"]
    tags = [{"ResourceType": "vpc", "Tags": listed({"tagalong:seed": fleet.zone})}]
    vpc = ec2.create_vpc(CidrBlock=fleet.vpc_cidr, TagSpecifications=tags)["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": True})
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    return vpc


def find_or_make_subnet(ec2, vpc, availability_zone, cidr):
    for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]:
        if subnet["CidrBlock"] == cidr:
            return subnet["SubnetId"]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=availability_zone)
    return made["Subnet"]["SubnetId"]


def find_or_make_host(ec2, fleet, vpc, subnets, host):
    here = [
        {"Name": "vpc-id", "Values": [vpc]},
        {"Name": "tag:Name", "Values": [host.name]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    found = [i for r in ec2.describe_instances(Filters=here)["Reservations"] for i in r["Instances"]]
    instance = found[0] if found else make_host(ec2, fleet, subnets, host)
    return {
        "id": instance["InstanceId"],
        "address": instance["PrivateIpAddress"],
        "availability_zone": instance["Placement"]["AvailabilityZone"],
        "role": host.role,
    }


def make_host(ec2, fleet, subnets, host):
    return ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnets[host.availability_zone],
        PrivateIpAddress=fleet.address(host),
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": listed(fleet.tags(host))}],
    )["Instances"][0]


def find_or_make_zone(route53, vpc, name):
    of_vpc = route53.list_hosted_zones_by_vpc(VPCId=vpc, VPCRegion=REGION)["HostedZoneSummaries"]
    for zone in of_vpc:
        if zone["Name"] == name:
            return zone["HostedZoneId"]
    made = route53.create_hosted_zone(
        Name=name,
        CallerReference=f"{vpc} {name}",
        VPC={"VPCRegion": REGION, "VPCId": vpc},
        # LocalStack fails without a comment
        HostedZoneConfig={"PrivateZone": True, "Comment": "localstack/seed.py"},
    )
    return made["HostedZone"]["Id"].removeprefix("/hostedzone/")


def listed(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


if __name__ == "__main__":
    main()
