output "zone_id" {
  description = "The private hosted zone"
  value       = module.private_zone.zone_id
}

output "role_name" {
  description = "The hosts' role"
  value       = module.agent_role.role_name
}

output "primary_address" {
  description = "The address of the zone's primary"
  value       = aws_instance.primary.private_ip
}

output "vpc_id" {
  description = "The VPC"
  value       = aws_vpc.this.id
}

output "hosts" {
  description = "The hosts' names and addresses, which DNS should have"
  value       = { for name, host in aws_instance.hosts : name => host.private_ip }
}
