output "zone_id" {
  description = "The hosted zone of the names, for `zone_id`"
  value       = aws_route53_zone.names.zone_id
}

output "reverse_zone_id" {
  description = "The hosted zone of the addresses; empty where there is none"
  value       = join("", aws_route53_zone.addresses[*].zone_id)
}
