"""Makes a CloudFormation stack in LocalStack, moto, or whatever speaks CloudFormation, and prints what it made as JSON.

    .venv/bin/python localstack/deploy.py ENDPOINT TEMPLATE STACK [PARAMETER=VALUE ...] [--timeout 120]

As `aws cloudformation package` and `deploy` do it: a template that a `TemplateURL` names by a path beside it goes to a
bucket first. What is printed when everything stands:

    {"stack": "arn:…", "outputs": {"ZoneId": "Z…"},
     "resources": {"Zone": {"type": "AWS::Route53::HostedZone", "id": "Z…", "status": "CREATE_COMPLETE"},
                   "Servers": {"type": "AWS::CloudFormation::Stack", …, "outputs": {…}, "resources": {…}}}}

Exit status 1, and on stderr each resource that is not there and why, when one is not: LocalStack calls CREATE_COMPLETE what
it knows nothing of, and gives it the id `unknown`.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from seed import client

BUCKET = "templates"
# Stands in for the public parameters of Systems Manager, which moto does not know, and lets nobody make.
IMAGE = "/image"
NESTED = "AWS::CloudFormation::Stack"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("template", type=Path)
    parser.add_argument("stack")
    parser.add_argument("parameters", nargs="*", type=parameter, metavar="PARAMETER=VALUE")
    parser.add_argument("--timeout", type=float, default=120, help="seconds until the stack must stand")
    options = parser.parse_args()
    try:
        made = deploy(options)
    except (BotoCoreError, ClientError, ResponseParserError, OSError) as error:
        sys.exit(f"localstack/deploy.py: {options.template}: {error}")
    print(json.dumps(made, indent=2))


def parameter(text):
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"not PARAMETER=VALUE: {text}")
    return {"ParameterKey": key, "ParameterValue": value}


def deploy(options):
    cloudformation = client("cloudformation", options.endpoint)
    deadline = time.monotonic() + options.timeout
    stack = cloudformation.create_stack(
        StackName=options.stack,
        TemplateBody=package(options.endpoint, options.template),
        Parameters=options.parameters,
        Capabilities=["CAPABILITY_IAM"],
    )["StackId"]
    while (found := describe(cloudformation, stack))["StackStatus"].endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    resources = list_resources(cloudformation, stack)
    problems = list(find_problems(resources))
    if found["StackStatus"] != "CREATE_COMPLETE" or problems:
        head = f"localstack/deploy.py: {options.template}: the stack is {found['StackStatus']}"
        reason = found.get("StackStatusReason")
        sys.exit("\n  ".join([f"{head}: {reason}" if reason else head, *problems]))
    return {"stack": stack, "outputs": outputs(found), "resources": resources}


def package(endpoint, template):
    """The template, with what it names by a path, and the images that it names, put where the emulator finds them."""

    def upload(match):
        nested = template.parent / match[2]
        s3 = client("s3", endpoint)
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key=nested.name, Body=package(endpoint, nested))
        return f"{match[1]}https://s3.amazonaws.com/{BUCKET}/{nested.name}"

    def find_image(match):
        image = client("ec2", endpoint).describe_images()["Images"][0]["ImageId"]
        client("ssm", endpoint).put_parameter(Name=IMAGE, Value=image, Type="String", Overwrite=True)
        return match[1] + IMAGE

    text = re.sub(r"(\bTemplateURL: *)(?!https?:)([\w./-]+)", upload, template.read_text())
    return re.sub(r"(\bDefault: *)/aws/service/\S+", find_image, text)


def describe(cloudformation, stack):
    return cloudformation.describe_stacks(StackName=stack)["Stacks"][0]


def outputs(stack):
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def list_resources(cloudformation, stack):
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
    found = (resource for page in pages for resource in page["StackResourceSummaries"])
    # moto lists what a condition leaves out too, without a name
    return {name: tell(cloudformation, resource) for resource in found if (name := resource["LogicalResourceId"])}


def tell(cloudformation, resource):
    told = {
        "type": resource["ResourceType"],
        "id": resource.get("PhysicalResourceId"),
        "status": resource["ResourceStatus"],
    }
    if reason := resource.get("ResourceStatusReason"):
        told["reason"] = reason
    if told["type"] == NESTED and told["id"]:
        told["outputs"] = outputs(describe(cloudformation, told["id"]))
        told["resources"] = list_resources(cloudformation, told["id"])
    return told


def find_problems(resources, prefix=""):
    for name, resource in resources.items():
        status, made = resource["status"], resource["id"]
        if status != "CREATE_COMPLETE" or not made or made == "unknown":
            yield f"{prefix}{name} ({resource['type']}) is {status}, id {made}: {resource.get('reason', 'no reason given')}"
        yield from find_problems(resource.get("resources", {}), f"{prefix}{name}.")


if __name__ == "__main__":
    main()
