# What hosts may do, and when: the statements are those of infra/cloudformation/agent-role.yaml, in its order. No resource and no data
# source is in this file, so that it can be evaluated without a provider.
locals {
  zones = [
    for id in [var.hosted_zone_id, var.reverse_zone_id] : "arn:${local.partition}:route53:::hostedzone/${id}" if id != ""
  ]

  possible = [
    {
      when = true
      statement = {
        Sid      = "FindDnsServersAndOwners"
        Effect   = "Allow"
        Action   = "ec2:DescribeInstances"
        Resource = "*"
      }
    },
    {
      when = var.tags_by_api
      statement = {
        Sid      = "ReadOwnTags"
        Effect   = "Allow"
        Action   = "ec2:DescribeTags"
        Resource = "*"
      }
    },
    {
      when = var.nearest_first
      statement = {
        Sid      = "KnowNearNetworks"
        Effect   = "Allow"
        Action   = "ec2:DescribeSubnets"
        Resource = "*"
      }
    },
    {
      when = var.key_parameter != ""
      statement = {
        Sid      = "ReadKey"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter${var.key_parameter}"
      }
    },
    {
      when = var.hosted_zone_id != ""
      statement = {
        Sid      = "Publish"
        Effect   = "Allow"
        Action   = "route53:ChangeResourceRecordSets"
        Resource = "arn:${local.partition}:route53:::hostedzone/${var.hosted_zone_id}"
        Condition = {
          "ForAllValues:StringEquals" = {
            "route53:ChangeResourceRecordSetsRecordTypes" = ["A", "AAAA", "TXT"]
            "route53:ChangeResourceRecordSetsActions"     = ["CREATE", "DELETE"]
          }
          "ForAllValues:StringLike" = {
            "route53:ChangeResourceRecordSetsNormalizedRecordNames" = "*.${var.domain}"
          }
        }
      }
    },
    {
      when = var.reverse_zone_id != ""
      statement = {
        Sid      = "PublishReverse"
        Effect   = "Allow"
        Action   = "route53:ChangeResourceRecordSets"
        Resource = "arn:${local.partition}:route53:::hostedzone/${var.reverse_zone_id}"
        Condition = {
          "ForAllValues:StringEquals" = {
            "route53:ChangeResourceRecordSetsRecordTypes" = ["PTR", "TXT"]
            "route53:ChangeResourceRecordSetsActions"     = ["CREATE", "DELETE"]
          }
          "ForAllValues:StringLike" = {
            "route53:ChangeResourceRecordSetsNormalizedRecordNames" = ["*.in-addr.arpa", "*.ip6.arpa"]
          }
        }
      }
    },
    {
      when = var.hosted_zone_id != ""
      statement = {
        Sid      = "ReadTheZones"
        Effect   = "Allow"
        Action   = ["route53:GetHostedZone", "route53:ListResourceRecordSets"]
        Resource = local.zones
      }
    },
    {
      when = var.reverse_zone_id != ""
      statement = {
        Sid      = "FindReverseZone"
        Effect   = "Allow"
        Action   = ["route53:ListHostedZonesByVPC", "route53:ListHostedZonesByName", "ec2:DescribeVpcs"]
        Resource = "*"
      }
    },
    {
      when = var.key_of_parameter != ""
      statement = {
        Sid       = "DecryptKey"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.key_of_parameter
        Condition = { StringLike = { "kms:ViaService" = "ssm.*" } }
      }
    },
  ]

  statements = [for it in local.possible : it.statement if it.when]
}
